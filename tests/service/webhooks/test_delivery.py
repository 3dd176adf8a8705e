"""Delivery over real HTTP: signed, tried again, given up; what a receiver's answer does to its webhook."""

import itertools
import threading
from typing import Any

import pytest
from django.db.models import F
from standardwebhooks.webhooks import WebhookVerificationError

from service.jobs import lifecycle
from service.webhooks.delivery import LONGEST_PAUSE, claim, deliver, pause_after, settle
from service.webhooks.endpoints import new_secret, rotate_secret
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.outbox import send_again, send_test
from service.webhooks.retention import retain
from service.webhooks.sending import Outcome
from tests.service.webhooks.conftest import let_time_pass
from tests.service.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db


def only(endpoint: WebhookEndpoint) -> WebhookDelivery:
    return endpoint.deliveries.get()


def test_a_message_arrives_signed(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    make_job(name="Größe")
    deliver()
    (request,) = receiver.received
    payload = request.verified(endpoint.secret)
    sent = only(endpoint)
    assert payload == sent.payload
    assert list(payload) == ["type", "timestamp", "data"]
    assert request.id == str(sent.pk)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (sent.state, sent.response_status, sent.sentence) == ("delivered", 200, "Answered 200 OK.")
    with pytest.raises(WebhookVerificationError):
        request.verified(new_secret())


def test_what_is_refused_comes_again_the_same(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    receiver.answers = [500, 200]
    make_job()
    deliver()
    waiting = only(endpoint)
    assert (waiting.state, waiting.attempts, waiting.response_status) == ("waiting", 1, 500)
    assert deliver() == 0, "tried again without a pause"
    let_time_pass(seconds=10)
    deliver()
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    second.verified(endpoint.secret)
    endpoint.refresh_from_db()
    assert (only(endpoint).state, endpoint.failing_since) == ("delivered", None)
    assert endpoint.last_delivered_at is not None


def test_messages_arrive_in_the_order_of_the_moves(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver, user: Any
) -> None:
    for _ in range(3):
        lifecycle.request_cancel(make_job(), by=user)
    assert deliver() == 6
    assert receiver.types == ["job.queued", "job.cancelled"] * 3


def test_pauses_grow_up_to_four_hours_and_differ() -> None:
    lengths = [[pause_after(attempt) for _ in range(200)] for attempt in range(1, 30)]
    assert 4.0 <= min(lengths[0]) < max(lengths[0]) <= 6.0
    for shorter, longer in itertools.pairwise(lengths[:8]):
        assert max(shorter) < min(longer)
    assert max(map(max, lengths)) <= 1.2 * LONGEST_PAUSE


def test_a_receiver_that_asks_for_time_gets_it(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "900"})]
    make_job()
    deliver()
    let_time_pass(seconds=890)
    assert deliver() == 0
    let_time_pass(seconds=20)
    assert deliver() == 1


def test_after_three_days_it_is_given_up_and_the_webhook_disabled(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver
) -> None:
    receiver.answers = [500, 502]
    make_job()
    deliver()
    let_time_pass(hours=72)
    deliver()
    last = only(endpoint)
    assert (last.state, last.sentence) == ("gave_up", "Answered 502 Bad Gateway. Given up after 72 h.")
    endpoint.refresh_from_db()
    assert not endpoint.enabled
    assert endpoint.disabled_reason == "Nothing was taken here for 3 days; the last attempt: Answered 502 Bad Gateway."
    make_job()
    assert deliver() == 0
    assert len(receiver.received) == 2


def test_one_message_given_up_does_not_disable_a_webhook_that_takes_others(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver
) -> None:
    receiver.answers = [500]
    make_job()
    deliver()
    make_job()
    deliver()
    receiver.answers = [500]
    let_time_pass(hours=72)
    deliver()
    endpoint.refresh_from_db()
    assert [each.state for each in endpoint.deliveries.order_by("queued_at")] == ["gave_up", "delivered"]
    assert endpoint.enabled


def test_gone_ends_it_at_once(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    receiver.answers = [410]
    make_job()
    make_job()
    deliver()
    endpoint.refresh_from_db()
    assert (endpoint.enabled, len(receiver.received)) == (False, 1)
    assert endpoint.disabled_reason == "It answered 410 Gone: the receiver wants no more messages."
    assert [each.state for each in endpoint.deliveries.order_by("queued_at")] == ["gave_up", "waiting"]


def test_a_redirect_is_not_followed(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    elsewhere = Receiver()
    receiver.answers = [(307, {"Location": elsewhere.url})]
    make_job()
    deliver()
    elsewhere.close()
    assert elsewhere.received == []
    assert only(endpoint).sentence == "Answered 307 Temporary Redirect; redirects are not followed."


def test_a_dead_and_a_slow_receiver_hold_up_only_themselves(
    make_endpoint: Any, make_job: Any, receiver: Receiver, settings: Any
) -> None:
    settings.ALTPROP_WEBHOOK_TIMEOUT_SECONDS = 20.0
    others_done, slow = threading.Event(), Receiver()

    def answer_last() -> int:
        assert others_done.wait(15)
        return 200

    slow.answers = [answer_last]
    quick = make_endpoint()
    slow_one = make_endpoint(url=slow.url)
    closed = Receiver()
    closed.close()
    dead = make_endpoint(url=closed.url)
    for _ in range(3):
        make_job()
    watcher = threading.Thread(target=lambda: (receiver.wait_for(3), others_done.set()))
    watcher.start()
    deliver()
    watcher.join()
    slow.close()
    states = {
        each: [delivery.state for delivery in each.deliveries.order_by("queued_at")] for each in (quick, slow_one, dead)
    }
    assert states == {quick: ["delivered"] * 3, slow_one: ["delivered"] * 3, dead: ["waiting"] * 3}
    assert all("could not be sent" in each.sentence for each in dead.deliveries.all())


def test_an_answer_that_does_not_come_is_not_waited_for(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver, settings: Any
) -> None:
    settings.ALTPROP_WEBHOOK_TIMEOUT_SECONDS = 0.2
    over = threading.Event()

    def answer_too_late() -> int:
        over.wait(15)
        return 200

    receiver.answers = [answer_too_late]
    make_job()
    deliver()
    over.set()
    assert (only(endpoint).state, only(endpoint).sentence) == ("waiting", "No answer within 0.2 s.")


def test_a_claim_holds_until_the_attempt_must_be_over(endpoint: WebhookEndpoint, make_job: Any) -> None:
    make_job()
    (first,) = claim(10)
    assert claim(10) == []
    let_time_pass(seconds=31)
    (second,) = claim(10)
    assert (second.pk, first.attempts, second.attempts) == (first.pk, 1, 2)
    # The first one wakes up with a failure: the second, which is under way, is left alone.
    settle(first, Outcome("Answered 500.", 500))
    assert only(endpoint).sentence == ""
    settle(second, Outcome("Answered 200 OK.", 200))
    settle(first, Outcome("Answered 500.", 500))
    assert only(endpoint).state == "delivered"


def test_a_claim_takes_one_of_each_webhook_and_none_of_the_busy(make_endpoint: Any, make_job: Any) -> None:
    endpoints = [make_endpoint() for _ in range(4)]
    make_job()
    make_job()
    busy = {endpoints[0].pk}
    assert {each.endpoint_id for each in claim(10, busy=busy)} == {each.pk for each in endpoints[1:]}
    assert len(claim(2)) == 2
    assert claim(0) == []


def test_after_a_new_secret_both_sign(endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver) -> None:
    former = endpoint.secret
    new = rotate_secret(endpoint).secret
    make_job()
    deliver()
    assert receiver.received[0].verified(former) == receiver.received[0].verified(new)
    WebhookEndpoint.objects.update(former_secret_until=F("created_at"))
    make_job()
    deliver()
    receiver.received[1].verified(new)
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verified(former)


def test_a_message_for_trial_and_one_sent_again(make_endpoint: Any, receiver: Receiver) -> None:
    endpoint = make_endpoint(events=["job.failed"])
    sent = send_test(endpoint)
    deliver()
    assert receiver.received[0].verified(endpoint.secret)["type"] == "webhook.test"
    sent.refresh_from_db()
    assert send_again(sent).state == "waiting"
    deliver()
    assert receiver.received[0].id == receiver.received[1].id == str(sent.pk)
    assert only(endpoint).state == "delivered"


def test_nothing_is_sent_in_the_name_of_who_may_no_longer_log_in(
    endpoint: WebhookEndpoint, make_job: Any, user: Any
) -> None:
    make_job()
    user.is_active = False
    user.save()
    assert deliver() == 0


def test_old_messages_are_removed_and_those_of_the_disabled_given_up(
    make_endpoint: Any, make_job: Any, receiver: Receiver
) -> None:
    endpoint, disabled = make_endpoint(), make_endpoint(url="http://127.0.0.1:1/")
    make_job()
    deliver()
    WebhookEndpoint.objects.filter(pk=disabled.pk).update(enabled=False, disabled_reason="by a test")
    assert retain() == 0
    let_time_pass(days=4)
    assert retain() == 0
    assert only(disabled).sentence == "Its webhook was disabled until it was too late."
    let_time_pass(days=11)
    assert retain() == 2
    make_job()
    assert (retain(), only(endpoint).state) == (0, "waiting")


def test_no_secret_and_no_address_is_logged(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [410]
    make_job()
    deliver()
    assert f"Webhook {endpoint.pk} is disabled" in caplog.text
    assert endpoint.secret not in caplog.text
    assert "7c1d" not in caplog.text
