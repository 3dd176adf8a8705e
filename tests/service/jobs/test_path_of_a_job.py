"""The plain path: created, claimed, trained by a process of its own, stored, read back."""

from pathlib import Path
from typing import Any

import pytest

from service.jobs import checkpoints
from service.jobs.models import Checkpoint, MetricPoint
from service.jobs.states import State
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker


@pytest.mark.django_db(transaction=True)
def test_a_job_is_trained_and_its_checkpoint_read_back(worker: ThisWorker, make_job: Any, tmp_path: Path) -> None:
    job = make_job()

    assert train_next(worker)

    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.sentence
    assert job.result["steps"] == job.progress["step"] == job.progress["steps"]
    assert job.progress["fraction"] == 1.0
    summaries = {summary.name: summary for summary in job.summaries.all()}
    assert summaries["test_accuracy"].count == 2
    assert summaries["test_accuracy"].last == job.result["test_accuracy"]
    assert MetricPoint.objects.filter(series=summaries["test_accuracy"]).count() == 2
    assert [t.target for t in job.transitions.all()] == ["queued", "running", "succeeded"]

    checkpoint = Checkpoint.objects.published().filter(job=job)[0]
    path = tmp_path / "read_back.safetensors"
    checkpoints.write_to(checkpoint, path)
    from trainers.checkpoint import load, weights_sha256

    assert weights_sha256(load(path).state["algorithm"]["network"]) == job.result["weights_sha256"]
    assert not train_next(worker)
