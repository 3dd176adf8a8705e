"""What a later attempt finds and goes on from; corruption of stored bytes."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from service.jobs import checkpoints, descent, lifecycle
from service.jobs.errors import CheckpointCorrupt
from service.jobs.metrics import read_points
from service.jobs.models import Checkpoint, Job
from service.jobs.states import State
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker
from tests.service.jobs.beside import once

pytestmark = pytest.mark.django_db(transaction=True)

RUN = {"epochs": 60, "evaluate_every_steps": 5, "checkpoint_every_epochs": 2}


def corrupt(checkpoint: Checkpoint) -> None:
    """Turn over a byte in the middle of its first chunk."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_checkpointchunk SET data = set_byte(data, 1000, get_byte(data, 1000) # 255)"
            " WHERE checkpoint_id = %s AND number = 0",
            [checkpoint.pk],
        )


def finished(job: Job, worker: ThisWorker) -> Job:
    assert train_next(worker)
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.sentence
    return job


def points_of(job: Job) -> dict[str, list[float]]:
    return {summary.name: read_points(summary.pk)["value"].tolist() for summary in job.summaries.all()}


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_serves(
    worker: ThisWorker, make_job: Any, tmp_path: Path
) -> None:
    whole = finished(make_job(training=RUN), worker)

    job = make_job(training=RUN)
    pause = once(lambda: job.checkpoints.published().count() >= 3, lambda: lifecycle.request_pause(job, by="alice"))
    assert train_next(worker)
    pause.join()
    job.refresh_from_db()
    assert job.state == State.PAUSED
    last, before = job.checkpoints.published()[:2]
    corrupt(last)
    with pytest.raises(CheckpointCorrupt, match="chunk 0 is not what was written"):
        checkpoints.write_to(last, tmp_path / "never_whole")

    lifecycle.resume(job, by="alice")
    finished(job, worker)
    assert job.events.filter(type="checkpoint_damaged").get().data["step"] == last.step
    assert job.events.filter(type="started").last().data["resumed_at"] == before.step
    assert job.result["weights_sha256"] == whole.result["weights_sha256"]
    assert points_of(job) == points_of(whole)
    assert job.checkpoints.filter(kinds__contains=["best"]).count() == 1
    assert job.checkpoints.filter(kinds__contains=["last"]).count() == 1


def test_a_retry_goes_on_from_the_last_checkpoint_and_ends_as_if_nothing_had_happened(
    worker: ThisWorker, make_job: Any
) -> None:
    whole = finished(make_job(training=RUN), worker)
    job = make_job(training=RUN, name="mine", tags=["a"])
    cancel = once(lambda: job.checkpoints.published().exists(), lambda: lifecycle.request_cancel(job, by="alice"))
    assert train_next(worker)
    cancel.join()
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    last = job.checkpoints.published()[0]

    again = descent.retry(job, by=job.owner)
    assert (again.parent, again.name, again.tags, again.start_from_checkpoint) == (job, "mine", ["a"], last)
    finished(again, worker)
    assert again.events.get(type="started").data["resumed_at"] == last.step
    assert again.result["weights_sha256"] == whole.result["weights_sha256"]


def test_a_clone_repeats_a_run_exactly(worker: ThisWorker, make_job: Any) -> None:
    job = finished(make_job(training={"threads": None}), worker)
    twin = finished(descent.clone(job, by=job.owner, name="twin"), worker)
    assert (twin.parent, twin.name, twin.threads) == (job, "twin", job.threads)
    assert twin.result["weights_sha256"] == job.result["weights_sha256"]
    with pytest.raises(lifecycle.TransitionRefused, match="clone it"):
        descent.retry(job, by=job.owner)
