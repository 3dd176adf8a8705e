"""A worker that no longer holds a job writes nothing of it, by whatever door."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from service.jobs import checkpoints, lifecycle, reaper
from service.jobs.errors import LeaseLost
from service.jobs.lease import Lease, renew, wish
from service.jobs.logs import store_log
from service.jobs.metrics import store_diagnostics, store_metrics
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.queue import claim
from service.jobs.recovery import rewind
from service.jobs.states import Reason, State
from trainers import events

pytestmark = pytest.mark.django_db

AT = {"step": 5, "epoch": 1, "passes": 1, "samples": 500, "seconds": 0.1}
SAVED = events.CheckpointSaved(**AT, path="nowhere", kinds=["last"], bytes=3, sha256="0" * 64, metrics={})

DOORS: dict[str, Callable[[Lease], object]] = {
    "metrics": lambda lease: store_metrics(lease, [events.Metrics(**AT, values={"train_loss": 1.0})]),
    "diagnostics": lambda lease: store_diagnostics(lease, [events.Diagnostics(**AT, layers=[])]),
    "log": lambda lease: store_log(lease, 1, ["said"]),
    "new checkpoint": lambda lease: checkpoints.begin(lease, SAVED),
    "rewind": lambda lease: rewind(lease, None),
    "succeed": lambda lease: lifecycle.succeed(lease, {}, progress={}, seconds_trained=1.0),
    "fail": lambda lease: lifecycle.fail(lease, Reason.DIVERGED, "It diverged.", seconds_trained=1.0),
    "hand back": lambda lease: lifecycle.hand_back(lease, step=5, seconds_trained=1.0),
    "lose trainer": lambda lease: lifecycle.lose_trainer(lease, "Killed", seconds_trained=1.0),
    "pause": lambda lease: lifecycle.finish_pause(lease, step=5, seconds_trained=1.0),
    "cancel": lifecycle.finish_cancel,
}


def taken(name: str = "cpu-1") -> Lease:
    found = claim(Identity.new(name, cores=2).capacity)
    assert found is not None
    return found[1]


def everything(job: Job) -> tuple[Any, ...]:
    job.refresh_from_db()
    return (
        job.state,
        job.attempt,
        job.worker,
        *(list(related.values_list()) for related in (job.summaries, job.log_lines, job.checkpoints, job.transitions)),
    )


@pytest.mark.parametrize("door", DOORS)
def test_a_stale_worker_writes_nothing(make_job: Any, door: str) -> None:
    job = make_job()
    stale = taken()
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - datetime.timedelta(seconds=1))
    assert lifecycle.lose_worker(Job.objects.get(pk=job.pk)) is not None
    owner = taken("cpu-2")
    before = everything(job)
    with pytest.raises(LeaseLost):
        DOORS[door](stale)
    assert renew(stale, seconds_trained=9.0) is None
    assert wish(stale) is None
    assert everything(job) == before
    assert wish(owner) == State.RUNNING


def test_chunks_of_a_stale_worker_are_refused_too(make_job: Any) -> None:
    job = make_job()
    stale = taken()
    row = checkpoints.begin(stale, SAVED)
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - datetime.timedelta(seconds=1))
    lifecycle.lose_worker(Job.objects.get(pk=job.pk))
    for write in (
        lambda: checkpoints.write_chunks(stale, row.id, 0, [b"abc"]),
        lambda: checkpoints.publish(stale, row, ["last"]),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert not row.chunks.exists()
    reaper.sweep_orphans()
    assert not job.checkpoints.exists()


@pytest.mark.parametrize(
    ("state", "failures_before", "after"),
    [
        ("running", 0, ("queued", "worker_lost", 1)),
        ("running", 2, ("failed", "worker_lost", 3)),
        ("pausing", 0, ("paused", "worker_lost", 1)),
        ("pausing", 2, ("failed", "worker_lost", 3)),
        ("cancelling", 0, ("cancelled", "requested", 0)),
        ("cancelling", 2, ("cancelled", "requested", 2)),
    ],
)
def test_where_a_lost_job_goes(make_job: Any, state: str, failures_before: int, after: tuple[Any, ...]) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(attempt=4, failures=failures_before)
    taken()
    if state == "pausing":
        lifecycle.request_pause(job, by="alice")
    if state == "cancelling":
        lifecycle.request_cancel(job, by="alice")
    assert lifecycle.lose_worker(Job.objects.get(pk=job.pk)) is None  # its lease still holds
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - datetime.timedelta(seconds=1))
    lost = lifecycle.lose_worker(Job.objects.get(pk=job.pk))
    assert lost is not None
    assert (lost.state, lost.reason, lost.failures) == after
    assert lost.worker is None
    assert lost.attempt == 5


@pytest.mark.parametrize("wish_of_user", ["cancel", "pause"])
@pytest.mark.parametrize("first", ["wish", "finish"])
def test_a_wish_against_the_finish_in_both_orders(make_job: Any, wish_of_user: str, first: str) -> None:
    job = make_job()
    lease = taken()
    ask = {"cancel": lifecycle.request_cancel, "pause": lifecycle.request_pause}[wish_of_user]
    if first == "wish":
        ask(job, by="alice")
        lifecycle.succeed(lease, {"done": True}, progress={}, seconds_trained=1.0)
    else:
        lifecycle.succeed(lease, {"done": True}, progress={}, seconds_trained=1.0)
        with pytest.raises(lifecycle.TransitionRefused, match="A job that is succeeded cannot be"):
            ask(job, by="alice")
    job.refresh_from_db()
    assert (job.state, job.result) == (State.SUCCEEDED, {"done": True})


@pytest.mark.parametrize(("wish_of_user", "after"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_wish_against_the_loss_of_the_worker_in_both_orders(make_job: Any, wish_of_user: str, after: str) -> None:
    ask = {"cancel": lifecycle.request_cancel, "pause": lifecycle.request_pause}[wish_of_user]
    for wish_comes_first in (True, False):
        job = make_job()
        lease = taken()
        if wish_comes_first:
            ask(job, by="alice")
        Job.objects.filter(pk=job.pk).update(lease_until=Now() - datetime.timedelta(seconds=1))
        reaper.free_lost_jobs()
        if not wish_comes_first:
            job.refresh_from_db()
            assert (job.state, job.reason) == (State.QUEUED, "worker_lost")
            ask(job, by="alice")
        job.refresh_from_db()
        assert job.state == after
        assert job.transitions.filter(target=after).count() == 1
        assert wish(lease) is None


@pytest.mark.parametrize("wish_of_user", ["cancel", "pause"])
@pytest.mark.parametrize("first", ["wish", "failure"])
def test_a_wish_against_a_failure_in_both_orders(make_job: Any, wish_of_user: str, first: str) -> None:
    job = make_job()
    lease = taken()
    ask = {"cancel": lifecycle.request_cancel, "pause": lifecycle.request_pause}[wish_of_user]
    if first == "wish":
        ask(job, by="alice")
        lifecycle.fail(lease, Reason.DIVERGED, "It diverged.", seconds_trained=1.0)
    else:
        lifecycle.fail(lease, Reason.DIVERGED, "It diverged.", seconds_trained=1.0)
        with pytest.raises(lifecycle.TransitionRefused, match="A job that is failed cannot be"):
            ask(job, by="alice")
    job.refresh_from_db()
    assert job.state == (State.CANCELLED if (wish_of_user, first) == ("cancel", "wish") else State.FAILED)


def test_the_pause_after_a_killed_trainer_doubles_up_to_five_minutes(make_job: Any) -> None:
    job = make_job(max_failures=100)
    pauses = []
    for _ in range(11):
        lease = taken()
        job = lifecycle.lose_trainer(lease, "The trainer process was killed (signal 9)", seconds_trained=1.0)
        pauses.append((job.not_before - job.state_at).total_seconds())
        assert claim(Identity.new("cpu-1", cores=2).capacity) is None  # it sleeps
        Job.objects.filter(pk=job.pk).update(not_before=None)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_job_that_waited_too_long_fails(make_job: Any) -> None:
    job, patient = make_job(max_pending_seconds=10), make_job(max_pending_seconds=10_000)
    assert reaper.fail_forgotten_jobs() == 0
    for each in (job, patient):
        Job.objects.filter(pk=each.pk).update(state_at=Now() - datetime.timedelta(seconds=60))
    assert reaper.fail_forgotten_jobs() == 1
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.FAILED, "pending_too_long")
    assert job.failure["sentence"] == "No worker took it within 10 s (max_pending_seconds)."


def test_folders_of_dead_workers_are_swept_and_those_of_live_ones_kept(tmp_path: Path, settings: Any) -> None:
    from service.jobs.scratch import Scratch, sweep

    settings.ALTPROP_SCRATCH_DIR = str(tmp_path)
    dead = tmp_path / "worker-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "step-1.safetensors").touch()
    alive = Scratch(Identity.new("cpu-1").id)
    sweep(tmp_path)
    assert not dead.exists()
    assert alive.folder.exists()
    alive.close()
    assert not alive.folder.exists()
