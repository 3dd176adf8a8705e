"""`/webhooks`: made, shown, changed, tried and deleted over HTTP; secrets once, other people's never."""

import json
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from schemathesis import GenerationMode

from service.api.openapi import document
from service.jobs import lifecycle
from service.jobs.models import Job
from service.webhooks.delivery import deliver
from service.webhooks.endpoints import MOST_OF_A_USER, create_endpoint
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.outbox import send_test
from service.webhooks.request import WebhookRequest
from tests.service.api.conftest import Person
from tests.service.api.test_errors import problem
from tests.service.api.test_openapi import _try, connection_kept
from tests.service.webhooks.conftest import receiver
from tests.service.webhooks.receiver import Receiver

__all__ = ["receiver"]

URL = "https://hooks.example.org/altprop"


@pytest.fixture
def _this_machine_may_be_called(settings: Any) -> None:
    settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE = True


def made(person: Person, **keys: Any) -> dict[str, Any]:
    answer = person.post("webhooks", {"url": URL, **keys})
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_a_webhook_is_made_with_a_secret_that_is_shown_this_once(alice: Person) -> None:
    answer = alice.post("webhooks", {"url": URL, "events": ["job.failed"], "description": "on call"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    webhook = answer.json()
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert alice.get(answer.headers["Location"]).json() == webhook
    assert webhook["events"] == ["job.failed"]
    assert (webhook["owner"], webhook["enabled"], webhook["disabled_reason"]) == ("alice", True, None)
    for path in ("webhooks", f"webhooks/{webhook['id']}", f"webhooks/{webhook['id']}/deliveries", "schema"):
        assert secret not in alice.get(path).content.decode()


def test_all_types_are_wanted_unless_some_are_named(alice: Person) -> None:
    assert made(alice)["events"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "#/url", "required"),
        ({"url": "hooks.example.org"}, "#/url", "https://"),
        ({"url": "https://alice:pw@example.org/"}, "#/url", "signature"),
        ({"url": "http://127.0.0.1:8000/"}, "#/url", "not a public address"),
        ({"url": "http://localhost/"}, "#/url", "this machine"),
        ({"url": "https://" + "a" * 2000}, "#/url", "2000"),
        ({"url": 5}, "#/url", "string"),
        ({"url": URL, "events": ["job.done"]}, "#/events/0", "job.succeeded"),
        ({"url": URL, "events": []}, "#/events", "at least 1"),
        ({"url": URL, "events": ["job.failed", "job.failed"]}, "#/events", "once"),
        ({"url": URL, "enabled": "no"}, "#/enabled", "boolean"),
        ({"url": URL, "secret": "mine"}, "#/secret", "not a known key"),
    ],
)
def test_what_is_wrong_is_named(alice: Person, body: dict[str, Any], pointer: str, words: str) -> None:
    answer = problem(alice.post("webhooks", body), 400)
    assert answer["type"] == "/errors/invalid-webhook"
    (error,) = answer["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]


def test_a_change_leaves_the_rest_as_it_is(alice: Person) -> None:
    webhook = made(alice, description="first")
    path = f"webhooks/{webhook['id']}"
    changed = alice.send("PATCH", path, {"events": ["job.succeeded"], "enabled": False}).json()
    assert changed["disabled_reason"] == "Disabled by its owner or the staff."
    expected = {"events": ["job.succeeded"], "enabled": False, "disabled_reason": changed["disabled_reason"]}
    webhook.pop("secret")
    assert changed == {**webhook, **expected}
    changed = alice.send("PATCH", path, {"events": None, "enabled": True, "url": URL + "/2"}).json()
    assert changed == {**webhook, "url": URL + "/2"}
    assert problem(alice.send("PATCH", path, {"url": "x"}), 400)["errors"][0]["pointer"] == "#/url"
    assert problem(alice.send("PATCH", path, {"url": None}), 400)["errors"][0]["pointer"] == "#/url"
    assert alice.send("PATCH", path, {}).json() == changed


def test_one_that_was_disabled_for_failing_is_brought_back(alice: Person) -> None:
    webhook = made(alice)
    WebhookEndpoint.objects.update(
        enabled=False, disabled_reason="Nothing was taken.", failing_since="2026-01-01T00:00Z"
    )
    shown = alice.get(f"webhooks/{webhook['id']}").json()
    assert (shown["disabled_reason"], shown["failing_since"]) == ("Nothing was taken.", "2026-01-01T00:00:00Z")
    shown = alice.send("PATCH", f"webhooks/{webhook['id']}", {"enabled": True}).json()
    assert (shown["enabled"], shown["disabled_reason"], shown["failing_since"]) == (True, None, None)


def test_a_request_that_is_repeated_makes_one(alice: Person) -> None:
    first, second = (alice.post("webhooks", {"url": URL}, idempotency_key="once") for _ in range(2))
    assert first.json() == second.json()
    assert len(alice.get("webhooks").json()["results"]) == 1
    rotations = [
        alice.post(f"webhooks/{first.json()['id']}/rotate-secret", idempotency_key="again").json() for _ in range(2)
    ]
    assert rotations[0]["secret"] == rotations[1]["secret"] != first.json()["secret"]


def test_a_webhook_that_has_not_changed_is_not_sent_again(alice: Person) -> None:
    path = f"webhooks/{made(alice)['id']}"
    etag = alice.get(path).headers["ETag"]
    assert alice.get(path, if_none_match=etag).status_code == 304


def test_a_list_comes_in_pages_newest_first(alice: Person) -> None:
    ids = [made(alice)["id"] for _ in range(3)]
    page = alice.get("webhooks?limit=2").json()
    assert [each["id"] for each in page["results"]] == ids[:0:-1]
    assert [each["id"] for each in alice.get(page["next"]).json()["results"]] == ids[:1]


def test_a_user_has_so_many_and_no_more(alice: Person, bob: Person) -> None:
    for _ in range(MOST_OF_A_USER - 1):
        create_endpoint(alice.user, WebhookRequest(url=URL), service_url="https://altprop.example/")
    made(alice)
    assert str(MOST_OF_A_USER) in problem(alice.post("webhooks", {"url": URL}), 409)["detail"]
    made(bob)


def test_somebody_elses_is_unknown_and_staff_sees_all(alice: Person, bob: Person, staff: Person) -> None:
    webhook = made(alice)
    path = f"webhooks/{webhook['id']}"
    alice.post(f"{path}/test")
    (message,) = alice.get(f"{path}/deliveries").json()["results"]
    for method, there in [
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate-secret"),
        ("POST", f"{path}/test"),
        ("GET", f"{path}/deliveries"),
        ("GET", f"{path}/deliveries/{message['id']}"),
        ("POST", f"{path}/deliveries/{message['id']}/redeliver"),
    ]:
        body = {} if method == "PATCH" else None
        problem(bob.send(method, there, body), 404)
        problem(alice.send(method, there.replace(webhook["id"], str(uuid4())), body), 404)
        problem(alice.send(method, there.replace(webhook["id"], "none"), body), 404)
    assert bob.get("webhooks").json()["results"] == []
    assert [each["id"] for each in staff.get("webhooks").json()["results"]] == [webhook["id"]]
    other = made(bob)["id"]
    problem(bob.get(f"webhooks/{other}/deliveries/{message['id']}"), 404)
    assert alice.get(path).status_code == 200


def test_one_that_is_deleted_takes_its_messages_along(alice: Person) -> None:
    path = f"webhooks/{made(alice)['id']}"
    alice.post(f"{path}/test")
    assert alice.send("DELETE", path).status_code == 204
    problem(alice.get(path), 404)
    assert not WebhookDelivery.objects.exists()


@pytest.mark.usefixtures("_this_machine_may_be_called")
def test_a_webhook_is_tried_and_its_message_sent_again(alice: Person, receiver: Receiver) -> None:
    webhook = made(alice, url=receiver.url, events=["job.failed"])
    answer = alice.post(f"webhooks/{webhook['id']}/test")
    assert answer.status_code == 202
    there = answer.headers["Location"]
    assert alice.get(there).json() == answer.json()
    assert (answer.json()["state"], answer.json()["sentence"]) == ("waiting", "Waiting to be sent.")
    deliver()
    shown = alice.get(there).json()
    assert (shown["state"], shown["response_status"], shown["attempts"]) == ("delivered", 200, 1)
    assert receiver.received[0].verified(webhook["secret"]) == shown["payload"]
    again = alice.post(f"{there}/redeliver")
    assert (again.status_code, again.json()["state"], again.headers["Location"]) == (202, "waiting", there)
    assert (again.json()["sentence"], again.json()["response_status"]) == ("Waiting to be sent.", None)
    deliver()
    assert [request.id for request in receiver.received] == [shown["id"]] * 2
    alice.send("PATCH", f"webhooks/{webhook['id']}", {"enabled": False})
    assert "enable it first" in problem(alice.post(f"webhooks/{webhook['id']}/test"), 409)["detail"]
    assert "enable it first" in problem(alice.post(f"{there}/redeliver"), 409)["detail"]


@pytest.mark.usefixtures("_this_machine_may_be_called")
def test_messages_are_listed_by_state_type_and_job(alice: Person, receiver: Receiver) -> None:
    deliveries = f"webhooks/{made(alice, url=receiver.url)['id']}/deliveries"

    def listed(query: str = "") -> list[tuple[str, str]]:
        return [(each["type"], each["state"]) for each in alice.get(deliveries + query).json()["results"]]

    job = alice.submit()
    deliver()
    lifecycle.request_cancel(Job.objects.get(pk=job["id"]), by=alice.user)
    other = alice.submit()
    assert listed() == [("job.queued", "waiting"), ("job.cancelled", "waiting"), ("job.queued", "delivered")]
    assert listed("?state=delivered") == [("job.queued", "delivered")]
    assert listed("?state=gave_up") == []
    assert listed("?type=job.cancelled&state=waiting") == [("job.cancelled", "waiting")]
    assert listed(f"?job={other['id']}") == [("job.queued", "waiting")]
    page = alice.get(f"{deliveries}?limit=2&order=queued_at").json()
    assert [each["type"] for each in alice.get(page["next"]).json()["results"]] == ["job.queued"]
    assert page["results"][0]["payload"]["data"]["url"] == job["url"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("state=lost", "state"), ("type=job.done", "type"), ("job=1", "job"), ("limit=0", "limit"), ("sort=id", "sort")],
)
def test_a_wrong_parameter_is_named(alice: Person, query: str, parameter: str) -> None:
    deliveries = f"webhooks/{made(alice)['id']}/deliveries"
    assert problem(alice.get(f"{deliveries}?{query}"), 400)["errors"][0]["parameter"] == parameter


def test_the_document_says_what_a_receiver_gets() -> None:
    operation = document()["webhooks"]["Message"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/WebhookMessage"
    }
    assert "webhook-signature" in json.dumps(operation)
    assert "sentence" in document()["components"]["schemas"]["JobMoved"]["properties"]


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_about_a_webhook_that_is_there_is_a_mistake_of_ours(
    alice: Person, redis_server: str, mode: GenerationMode
) -> None:
    asked = 0
    with connection_kept():
        schema = schemathesis.openapi.from_wsgi("/api/v1/schema", get_wsgi_application())
        for found in schema.get_all_operations():
            operation = found.ok()
            takes_body = operation.label in ("POST /api/v1/webhooks", "PATCH /api/v1/webhooks/{id}")
            if "/webhooks" not in operation.path or (mode is GenerationMode.NEGATIVE and not takes_body):
                continue
            webhook = create_endpoint(alice.user, WebhookRequest(url=URL), service_url="http://localhost/")
            there = {"id": str(webhook.pk), "delivery": str(send_test(webhook).pk)}
            known = {name: value for name, value in there.items() if f"{{{name}}}" in operation.path}
            _try(operation.as_strategy(mode, **({"path_parameters": known} if known else {})), alice)
            asked += 1
    assert asked == (2 if mode is GenerationMode.NEGATIVE else 10)
