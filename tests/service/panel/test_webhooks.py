"""The panel's webhooks and their messages: shown without secrets, tried, switched, sent again."""

from typing import Any

import pytest
from django.test import Client

from service.jobs.models import Job
from service.webhooks.endpoints import create_endpoint
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.request import WebhookRequest

ENDPOINTS = "/admin/webhooks/webhookendpoint/"
DELIVERIES = "/admin/webhooks/webhookdelivery/"


@pytest.fixture
def endpoint(staff: Any) -> WebhookEndpoint:
    wanted = WebhookRequest(url="https://hooks.example.org/in?key=7c1d", description="<b>on call</b>")
    return create_endpoint(staff, wanted, service_url="https://altprop.example/")


def act(browser: Client, page: str, action: str, *keys: Any) -> str:
    """What the page says once the action was chosen for these rows."""
    answer = browser.post(page, {"action": action, "_selected_action": [str(key) for key in keys]}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_lists_and_pages_show_all_but_the_secrets(browser: Client, endpoint: WebhookEndpoint, job: Job) -> None:
    delivery = endpoint.deliveries.get()
    pages = {
        ENDPOINTS: ["every move", "https://hooks.example.org/in", "olga"],
        f"{ENDPOINTS}{endpoint.pk}/change/": ["every move"],
        DELIVERIES: ["job.queued", "waiting", str(job.pk)],
        f"{DELIVERIES}?endpoint__id__exact={endpoint.pk}&state=waiting": ["job.queued"],
        f"{DELIVERIES}{delivery.pk}/change/": ["Waiting for a worker."],
    }
    for page, words in pages.items():
        answer = browser.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        for word in words:
            assert word in text, (page, word)
        assert endpoint.secret not in text
        assert "<b>on call</b>" not in text
    for none in ("state=delivered", "type=job.failed"):
        assert str(job.pk) not in browser.get(f"{DELIVERIES}?{none}").content.decode()
    assert "7c1d" not in browser.get(ENDPOINTS).content.decode()


def test_a_webhook_is_tried_and_switched(browser: Client, endpoint: WebhookEndpoint) -> None:
    assert "queued" in act(browser, ENDPOINTS, "try_out", endpoint.pk)
    assert endpoint.deliveries.get().type == "webhook.test"
    assert "disabled" in act(browser, ENDPOINTS, "disable", endpoint.pk)
    assert "enable it first" in act(browser, ENDPOINTS, "try_out", endpoint.pk)
    endpoint.refresh_from_db()
    assert not endpoint.enabled
    act(browser, ENDPOINTS, "enable", endpoint.pk)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.deliveries.count()) == (True, 1)


def test_a_message_is_sent_again(browser: Client, endpoint: WebhookEndpoint, job: Job) -> None:
    WebhookDelivery.objects.update(gave_up_at="2026-01-01T00:00Z", attempts=20)
    assert "queued again" in act(browser, DELIVERIES, "send_again", endpoint.deliveries.get().pk)
    delivery = endpoint.deliveries.get()
    assert (delivery.state, delivery.attempts) == ("waiting", 0)


@pytest.mark.parametrize("page", [ENDPOINTS, DELIVERIES])
def test_rows_are_not_added_changed_or_deleted_here(
    browser: Client, endpoint: WebhookEndpoint, job: Job, page: str
) -> None:
    key = endpoint.pk if page == ENDPOINTS else endpoint.deliveries.get().pk
    assert browser.get(f"{page}add/").status_code == 403
    assert browser.post(f"{page}{key}/change/", {"url": "https://other.example/"}).status_code == 403
    assert browser.post(f"{page}{key}/delete/", {"post": "yes"}).status_code == 403
    act(browser, page, "delete_selected", key)
    assert endpoint.deliveries.count() == 1
