"""The outbox: which moves are queued for whom, in the transaction of the move, and what a message says."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.urls import reverse

from service.accounts.visibility import visible_to
from service.jobs import lifecycle
from service.jobs.history import job_moved
from service.jobs.models import Job, Transition
from service.jobs.presentation import time_text
from service.jobs.states import State
from service.webhooks import outbox
from service.webhooks.events import EVENT_TYPES, JobMoved, WebhookMessage
from service.webhooks.models import WebhookDelivery, WebhookEndpoint
from service.webhooks.schema import queue_body
from tests.service.api.work import claim_next

pytestmark = pytest.mark.django_db


def queued_types(endpoint: WebhookEndpoint) -> list[str]:
    return [delivery.type for delivery in endpoint.deliveries.order_by("next_attempt_at")]


def test_the_types_are_the_states_of_a_job() -> None:
    assert set(EVENT_TYPES) == {f"job.{state.value}" for state in State}


def test_every_move_is_queued_once_in_order_the_claim_too(endpoint: WebhookEndpoint, make_job: Any, user: Any) -> None:
    job = make_job()
    lifecycle.request_pause(job, by=user)
    lifecycle.resume(job, by=user)
    lease = claim_next()
    lifecycle.request_cancel(job, by=user)
    lifecycle.finish_cancel(lease)
    moves = Transition.objects.filter(job=job).order_by("id")
    assert queued_types(endpoint) == [f"job.{move.target}" for move in moves]
    assert len(moves) == 6
    assert set(endpoint.deliveries.values_list("transition", flat=True)) == {move.pk for move in moves}


def test_a_message_says_what_the_history_says(endpoint: WebhookEndpoint, make_job: Any) -> None:
    job = make_job(name="erste »Probe«", tags=["a", "b"])
    lease = claim_next()
    lifecycle.succeed(lease, {"test_accuracy": 0.97}, progress={}, seconds_trained=1.0)
    for delivery in endpoint.deliveries.all():
        move = delivery.transition
        assert move is not None
        message = WebhookMessage.model_validate(delivery.payload)
        assert message.model_dump(mode="json") == delivery.payload
        assert message.type == delivery.type == f"job.{move.target}"
        assert message.timestamp == time_text(move.at)
        assert isinstance(message.data, JobMoved)
        data = message.data
        assert data.url == "https://altprop.example" + reverse("api:job", kwargs={"id": job.pk})
        assert (data.id, data.name, data.tags, data.owner) == (str(job.pk), job.name, job.tags, "alice")
        assert (data.algorithm, data.dataset, data.experiment) == ("backprop", "digits", None)
        told = (data.state, data.origin, data.reason, data.sentence, data.attempt, data.by)
        assert told == (move.target, move.origin, move.reason, move.sentence, move.attempt, move.by)
        assert data.result == ({"test_accuracy": 0.97} if move.target == "succeeded" else None)
        assert delivery.job == job.pk
        assert delivery.pk.version == 7


def test_a_move_that_is_undone_leaves_no_message(endpoint: WebhookEndpoint, make_job: Any, user: Any) -> None:
    job = make_job()

    def spoil(**_: Any) -> None:
        raise RuntimeError("after the move, before the commit")

    job_moved.connect(spoil)
    try:
        with pytest.raises(RuntimeError):
            lifecycle.request_cancel(job, by=user)
    finally:
        job_moved.disconnect(spoil)
    job.refresh_from_db()
    assert (job.state, queued_types(endpoint)) == ("queued", ["job.queued"])


def test_only_the_types_that_are_wanted_are_queued(make_endpoint: Any, make_job: Any, user: Any) -> None:
    endings = make_endpoint(events=["job.succeeded", "job.failed", "job.cancelled"])
    lifecycle.request_cancel(make_job(), by=user)
    assert queued_types(endings) == ["job.cancelled"]


def test_nothing_is_queued_for_a_disabled_webhook(make_endpoint: Any, make_job: Any) -> None:
    sleeping, awake = make_endpoint(enabled=False), make_endpoint()
    make_job()
    assert (queued_types(sleeping), queued_types(awake)) == ([], ["job.queued"])


def test_who_is_told_is_who_may_see_the_job(make_endpoint: Any, make_job: Any) -> None:
    people = [
        get_user_model().objects.create_user(f"user-{staff}-{active}", is_staff=staff, is_active=active)
        for staff in (False, True)
        for active in (False, True)
    ]
    theirs = {person.pk: make_endpoint(owner=person) for person in people}
    for owner in people:
        job = make_job(owner=owner)
        told = set(WebhookDelivery.objects.filter(job=job.pk).values_list("endpoint", flat=True))
        seeing = {theirs[p.pk].pk for p in people if Job.objects.filter(visible_to(p), pk=job.pk).exists()}
        assert told == seeing, owner


def test_a_job_that_is_deleted_leaves_its_messages(endpoint: WebhookEndpoint, make_job: Any) -> None:
    job = make_job()
    lifecycle.delete(job)
    (delivery,) = endpoint.deliveries.all()
    assert (delivery.transition, delivery.job, delivery.payload["data"]["id"]) == (None, job.pk, str(job.pk))


def test_a_move_costs_one_query_where_nobody_listens(make_job: Any, django_assert_num_queries: Any) -> None:
    job = make_job()
    move = Transition.objects.get(job=job)
    with django_assert_num_queries(1):
        outbox.ring_where_queued(transition=move)


def test_a_transaction_of_many_moves_rings_once(
    endpoint: WebhookEndpoint, make_job: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        for _ in range(3):
            make_job()
    assert callbacks.count(outbox.ring) == 1


def test_the_installed_trigger_is_that_of_the_code() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'webhooks_queue_deliveries'")
        (installed,) = cursor.fetchone()
    assert installed.split() == queue_body().split()
