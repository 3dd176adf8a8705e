"""Every registered algorithm trains as a job: metrics, health, pictures and a checkpoint that scores the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.jobs import checkpoints
from service.jobs.models import Checkpoint
from service.jobs.states import State
from service.jobs.worker import ThisWorker
from trainers import list_algorithms


@pytest.mark.django_db(transaction=True)
def test_all_of_them_succeed_with_health_and_pictures(worker: ThisWorker, make_job: Any) -> None:
    network = {"kind": "mlp", "hidden": [24, 16], "activation": "tanh"}
    jobs = {name: make_job(algorithm=name, network=network) for name in list_algorithms()}

    assert worker.answer() == len(jobs)

    for name, job in jobs.items():
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, f"{name}: {job.sentence} {job.failure}"
        assert job.result["test_accuracy"] == job.summaries.get(name="test_accuracy").last, name
        layers = job.diagnostics.first().layers
        assert {row["layer"] for row in layers} == {"layer1", "layer2", "layer3"}, name
        assert job.result["compute_cost"], name
        assert Checkpoint.objects.published().filter(job=job, kinds__contains=["last"]).count() == 1, name
        for artefact in job.artefacts.all():
            assert bytes(artefact.content), artefact.name


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("algorithm", ["backprop", "hsic_bottleneck"])
def test_a_fetched_checkpoint_scores_outside_what_the_job_says(
    algorithm: str, worker: ThisWorker, make_job: Any, tmp_path: Path
) -> None:
    job = make_job(algorithm=algorithm)
    worker.answer()
    job.refresh_from_db()
    checkpoint = Checkpoint.objects.published().get(job=job, kinds__contains=["last"])
    file = tmp_path / "fetched.safetensors"
    checkpoints.write_to(checkpoint, file)

    scored = subprocess.run(
        [sys.executable, "-m", "trainers", "evaluate", str(file)], capture_output=True, text=True, check=True
    )

    assert json.loads(scored.stdout)["test_accuracy"] == job.result["test_accuracy"]
