"""`/health` and `/workers`: what is there and what is away, open to all and per user."""

from typing import Any

import pytest
from django.db import OperationalError

from service.celery import app
from service.jobs.presence import Identity, say_goodbye, show
from tests.service.api.conftest import Person
from tests.service.api.work import claim_next


@pytest.fixture
def worker(db: None, settings: Any) -> Identity:
    settings.ALTPROP_HEARTBEAT_SECONDS = 600  # so that one sign of life is enough
    identity = Identity.new("cpu-1", queues=("cpu",), cores=2)
    show(identity, job=None)
    return identity


def test_all_parts_there_is_200(stranger: Person, redis_server: str, worker: Identity) -> None:
    answer = stranger.get("health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_without_a_worker_jobs_wait(stranger: Person, redis_server: str, worker: Identity) -> None:
    say_goodbye(worker)
    answer = stranger.get("health")
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert "No worker" in answer.json()["worker"]["sentence"]


def test_without_a_broker_the_rest_still_answers(
    stranger: Person, worker: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.conf, "broker_url", "redis://127.0.0.1:1/0")
    body = stranger.get("health").json()
    assert (body["status"], body["broker"]["ok"], body["worker"]["ok"]) == ("degraded", False, True)


def test_without_a_database_the_service_is_down(stranger: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr("service.api.health.connection.cursor", away)
        answer = stranger.get("health")
    assert (answer.status_code, answer.json()["status"]) == (503, "down")


def test_workers_are_listed_but_others_jobs_are_not_named(alice: Person, bob: Person, worker: Identity) -> None:
    job = alice.submit()
    claim_next()
    show(worker, job=job["id"])
    (mine,) = alice.get("workers").json()["results"]
    (theirs,) = bob.get("workers").json()["results"]
    assert (mine["name"], mine["busy"], mine["job"]) == ("cpu-1", True, job["id"])
    assert (theirs["busy"], theirs["job"]) == (True, None)
