"""What is committed is delivered, whoever is killed or deletes in between; over real processes and connections."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from service.jobs import lifecycle
from service.jobs.models import Transition
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker
from service.webhooks import delivery as delivering
from service.webhooks.delivery import deliver
from service.webhooks.endpoints import delete_endpoint
from service.webhooks.models import WebhookEndpoint
from tests.service.webhooks.conftest import let_time_pass
from tests.service.webhooks.receiver import PATIENCE, Receiver

pytestmark = pytest.mark.django_db(transaction=True)

DELIVER = "import django; django.setup(); from service.webhooks.delivery import deliver; deliver()"
MAINTENANCE = ["-m", "celery", "--quiet", "-A", "service", "worker", "-Q", "maintenance", "-P", "threads", "-c", "2"]


@contextmanager
def program(words: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A Python process on the same database, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env={**environment, "ALTPROP_WEBHOOK_ALLOW_PRIVATE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_every_move_of_a_trained_job_arrives(
    endpoint: WebhookEndpoint, make_job: Any, worker: ThisWorker, receiver: Receiver
) -> None:
    job = make_job()
    assert train_next(worker)
    deliver()
    payloads = [request.verified(endpoint.secret) for request in receiver.received]
    assert [payload["type"] for payload in payloads] == ["job.queued", "job.running", "job.succeeded"]
    assert len(Transition.objects.filter(job=job)) == 3
    job.refresh_from_db()
    assert payloads[-1]["data"]["result"] == job.result
    assert deliver() == 0


def test_a_sender_killed_before_it_has_marked_is_followed_by_another(
    endpoint: WebhookEndpoint, make_job: Any, receiver: Receiver, service_environment: dict[str, str]
) -> None:
    killed = threading.Event()
    receiver.answers = [lambda: 200 if killed.wait(PATIENCE) else 500]
    make_job()
    with program(["-c", DELIVER], service_environment) as sender:
        receiver.wait_for(1)
        sender.kill()
        sender.wait()
        killed.set()
    assert endpoint.deliveries.get().state == "waiting"
    assert deliver() == 0, "claimed again while the first attempt may still be under way"
    let_time_pass(seconds=31)
    assert deliver() == 1
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert endpoint.deliveries.get().state == "delivered"


def test_the_maintenance_worker_delivers_when_the_bell_rings(
    endpoint: WebhookEndpoint,
    make_job: Any,
    receiver: Receiver,
    service_environment: dict[str, str],
    settings: Any,
) -> None:
    """No clock runs here: what arrives was asked for by the commit itself."""
    settings.ALTPROP_WEBHOOK_SECONDS = PATIENCE
    with program([*MAINTENANCE, "--without-gossip", "--without-mingle", "-l", "INFO"], service_environment) as worker:
        assert worker.stdout is not None
        assert any("ready" in line for line in worker.stdout)
        lifecycle.request_cancel(make_job(), by="alice")
        for request in receiver.wait_for(2):
            request.verified(endpoint.secret)
    assert receiver.types == ["job.queued", "job.cancelled"]


def in_another_thread(work: Any) -> threading.Thread:
    """With a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_bell_during_a_round_is_heard_while_a_receiver_is_slow(
    make_endpoint: Any, make_job: Any, receiver: Receiver
) -> None:
    make_endpoint(events=["job.queued"])
    other = Receiver()
    later = make_endpoint(url=other.url, events=["job.cancelled"])
    job = make_job()

    def answer_once_the_other_has_come() -> int:
        lifecycle.request_cancel(job, by="alice")
        connection.close()
        assert deliver() == 0
        other.wait_for(1)
        return 200

    receiver.answers = [answer_once_the_other_has_come]
    assert deliver() == 2
    other.close()
    assert later.deliveries.get().state == "delivered"
    assert delivering._round is None


def test_deleting_a_webhook_waits_for_a_move_and_undoes_none(
    endpoint: WebhookEndpoint, make_job: Any, user: Any
) -> None:
    job = make_job()
    with transaction.atomic():
        lifecycle.request_cancel(job, by=user)
        deleting = in_another_thread(lambda: delete_endpoint(endpoint))
        wait_until_blocked(1)
    deleting.join(PATIENCE)
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert not WebhookEndpoint.objects.exists()


def test_a_move_passes_over_a_webhook_that_is_being_deleted(
    endpoint: WebhookEndpoint, make_job: Any, user: Any
) -> None:
    job = make_job()
    with transaction.atomic():
        delete_endpoint(endpoint)
        moving = in_another_thread(lambda: lifecycle.request_cancel(job, by=user))
        moving.join(PATIENCE)
        assert not moving.is_alive(), "it waited for the deletion"
    job.refresh_from_db()
    assert job.state == "cancelled"


def wait_until_blocked(count: int) -> None:
    """Until so many connections wait for a lock of somebody else."""
    for _ in range(int(PATIENCE / 0.01)):
        with connection.cursor() as cursor:
            # Each look is a query of 10 ms, as nothing announces that a lock is waited for.
            cursor.execute("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0] >= count:
                return
    raise AssertionError("nobody waits")
