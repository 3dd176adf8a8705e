"""A create that is sent again under the same Idempotency-Key makes one job and is answered twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from service.api.models import RepeatableAnswer
from service.jobs.models import Job
from tests.service.api.conftest import SPEC, Person, person


def test_the_same_request_is_answered_again(alice: Person) -> None:
    first = alice.post("jobs", SPEC, idempotency_key="k1")
    again = alice.post("jobs", SPEC, idempotency_key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert Job.objects.count() == 1


def test_the_order_of_keys_in_the_body_does_not_matter(alice: Person) -> None:
    alice.post("jobs", '{"algorithm": "backprop", "dataset": "digits"}', idempotency_key="k1")
    again = alice.post("jobs", '{"dataset":"digits","algorithm":"backprop"}', idempotency_key="k1")
    assert again.headers["Idempotent-Replayed"] == "true"


def test_another_request_under_the_same_key_is_refused(alice: Person) -> None:
    job = alice.post("jobs", SPEC, idempotency_key="k1").json()
    for answer in (
        alice.post("jobs", {**SPEC, "priority": 1}, idempotency_key="k1"),
        alice.post(f"jobs/{job['id']}/clone", SPEC, idempotency_key="k1"),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["header"] == "Idempotency-Key"
    assert Job.objects.count() == 1


def test_a_refused_request_leaves_its_key_free(alice: Person) -> None:
    assert alice.post("jobs", {**SPEC, "priority": "high"}, idempotency_key="k1").status_code == 400
    assert alice.post("jobs", SPEC, idempotency_key="k1").status_code == 201


def test_keys_of_different_users_are_different(alice: Person, bob: Person) -> None:
    alice.post("jobs", SPEC, idempotency_key="k1")
    assert bob.post("jobs", SPEC, idempotency_key="k1").json()["owner"] == "bob"


def test_a_key_is_forgotten_after_a_day(alice: Person) -> None:
    alice.post("jobs", SPEC, idempotency_key="k1")
    RepeatableAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert "Idempotent-Replayed" not in alice.post("jobs", SPEC, idempotency_key="k1").headers
    assert Job.objects.count() == 2


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ü", "a b", "a\tb"])
def test_a_key_that_cannot_be_stored_is_refused(alice: Person, key: str) -> None:
    answer = alice.post("jobs", SPEC, idempotency_key=key)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["header"] == "Idempotency-Key"
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_moment_make_one_job() -> None:
    dora = person("dora")
    together = threading.Barrier(4)

    def submit(_: int) -> tuple[int, str]:
        together.wait(timeout=30)
        try:
            answer = dora.post("jobs", SPEC, idempotency_key="k1")
            return answer.status_code, answer.json()["id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(submit, range(4)))
    assert len(answers) == 1
    assert Job.objects.count() == 1
