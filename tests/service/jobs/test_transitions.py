"""Every pair of states, tried in the code and in the database; what a row may look like in each state."""

import itertools
import re
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.db.utils import DatabaseError

from service.jobs import lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job
from service.jobs.schema import WRONG_MOVE, guard_body
from service.jobs.states import HELD, TERMINAL, TRANSITIONS, State, allowed

pytestmark = pytest.mark.django_db

# As DESIGN.md has it, written down a second time so that a slip in the table of the code shows.
DESIGNED = {
    "queued": {"running", "paused", "cancelled", "failed"},
    "running": {"succeeded", "failed", "pausing", "cancelling", "queued"},
    "pausing": {"paused", "succeeded", "failed", "cancelling"},
    "cancelling": {"cancelled", "succeeded"},
    "paused": {"queued", "cancelled"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}
# A shortest way to each state.
WAYS: dict[State, tuple[State, ...]] = {
    State.QUEUED: (),
    State.RUNNING: (State.RUNNING,),
    State.PAUSING: (State.RUNNING, State.PAUSING),
    State.PAUSED: (State.PAUSED,),
    State.CANCELLING: (State.RUNNING, State.CANCELLING),
    State.SUCCEEDED: (State.RUNNING, State.SUCCEEDED),
    State.FAILED: (State.FAILED,),
    State.CANCELLED: (State.CANCELLED,),
}


def columns(state: State) -> dict[str, Any]:
    """What a row must hold in that state."""
    held = state in HELD
    return {
        "state": state,
        "worker": "0199b6a0-0000-7000-8000-000000000001" if held else None,
        "lease_until": Now() if held else None,
        "started_at": Now(),
        "threads": 1,
        "device": "cpu",
        "finished_at": Now() if state in TERMINAL else None,
        "result": {} if state == State.SUCCEEDED else None,
        "failure": {} if state == State.FAILED else None,
    }


def brought_to(job: Job, state: State) -> Job:
    for step in WAYS[state]:
        Job.objects.filter(pk=job.pk).update(**columns(step))
    job.refresh_from_db()
    return job


def test_the_table_is_the_designed_one() -> None:
    assert {a.value: {b.value for b in targets} for a, targets in TRANSITIONS.items()} == DESIGNED


@pytest.mark.parametrize("origin", State)
def test_the_database_takes_the_moves_of_the_table_and_no_other(make_job: Any, origin: State) -> None:
    for target in State:
        job = brought_to(make_job(), origin)
        move = Job.objects.filter(pk=job.pk).update
        if allowed(origin, target) or origin == target:
            move(**columns(target))
        else:
            with pytest.raises(DatabaseError) as refusal, transaction.atomic():
                move(**columns(target))
            assert getattr(refusal.value.__cause__, "sqlstate", None) == WRONG_MOVE, f"{origin} → {target}"


def test_the_installed_guard_is_made_from_the_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'jobs_guard_job'")
        (installed,) = cursor.fetchone()
    assert installed.split() == guard_body().split()


REQUESTS = {
    "cancel": (
        lifecycle.request_cancel,
        {"queued": "cancelled", "paused": "cancelled", "running": "cancelling", "pausing": "cancelling"},
    ),
    "pause": (lifecycle.request_pause, {"queued": "paused", "running": "pausing"}),
    "resume": (lifecycle.resume, {"paused": "queued"}),
}


@pytest.mark.parametrize(("request_name", "state"), [*itertools.product(REQUESTS, State)])
def test_a_request_moves_the_job_or_says_why_not(make_job: Any, request_name: str, state: State) -> None:
    request, moves = REQUESTS[request_name]
    job = brought_to(make_job(), state)
    if state in moves:
        assert request(job, by="alice").state == moves[state]
        assert job.transitions.order_by("-id")[0].by == "alice"
        assert job.events.order_by("-id")[0].data["state"] == moves[state]
    else:
        before = job.transitions.count()
        with pytest.raises(TransitionRefused, match=re.escape(f"A job that is {state} cannot be")):
            request(job, by="alice")
        job.refresh_from_db()
        assert job.state == state
        assert job.transitions.count() == before


@pytest.mark.parametrize("state", State)
def test_a_job_that_a_worker_holds_is_not_deleted(make_job: Any, state: State) -> None:
    job = brought_to(make_job(), state)
    if state in HELD:
        with pytest.raises(TransitionRefused, match="cancel it first"):
            lifecycle.delete(job)
        assert Job.objects.filter(pk=job.pk).exists()
    else:
        lifecycle.delete(job)
        assert not Job.objects.filter(pk=job.pk).exists()


@pytest.mark.parametrize(
    ("state", "wrong"),
    [
        (State.QUEUED, {"worker": "0199b6a0-0000-7000-8000-000000000001"}),
        (State.QUEUED, {"finished_at": Now()}),
        (State.QUEUED, {"result": {}}),
        (State.RUNNING, {"lease_until": None}),
        (State.RUNNING, {"worker": None}),
        (State.RUNNING, {"failure": {}}),
        (State.SUCCEEDED, {"result": None}),
        (State.SUCCEEDED, {"finished_at": None}),
        (State.FAILED, {"failure": None}),
        (State.QUEUED, {"max_failures": 0}),
        (State.QUEUED, {"failures": 9}),
        (State.QUEUED, {"max_seconds": 0}),
    ],
    ids=str,
)
def test_a_row_that_contradicts_its_state_is_refused(make_job: Any, state: State, wrong: dict[str, Any]) -> None:
    job = brought_to(make_job(), state)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**wrong)


def test_attempt_and_failures_only_grow(make_job: Any) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(attempt=3, failures=1)
    for change in ({"attempt": 2}, {"failures": 0}):
        with pytest.raises(DatabaseError), transaction.atomic():
            Job.objects.filter(pk=job.pk).update(**change)


def test_history_is_only_added_to(make_job: Any) -> None:
    job = make_job()
    with pytest.raises(DatabaseError), transaction.atomic():
        job.transitions.update(reason="requested")
