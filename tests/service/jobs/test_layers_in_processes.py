"""A job whose layers train in processes of their own, and one of two networks: through a worker, to every end."""

import os
import select
import signal
from typing import Any

import pytest

from service.jobs import lifecycle
from service.jobs.models import Job
from service.jobs.states import State
from service.jobs.supervisor import train_next
from service.jobs.worker import ThisWorker
from service.local_stack.processes import running
from tests.service.commands import command_of
from tests.service.jobs.beside import once
from trainers.resolve import resolve

pytestmark = pytest.mark.django_db(transaction=True)

LAYERS = {"algorithm": "synthetic_gradients", "network": {"kind": "mlp", "hidden": [12, 8]}}
LONG = {"epochs": 100_000, "checkpoint_every_epochs": 1, "processes": 2}


def has_checkpoint(job: Job) -> bool:
    return job.checkpoints.published().exists()


def module_processes() -> list[int]:
    """Those that this process's trainers have started."""
    table = running()
    trainers = {p.pid for p in table.values() if p.parent == os.getpid()}
    children = [p.pid for p in table.values() if p.parent in trainers]
    return [pid for pid in children if b"layer_parallel" in command_of(pid)]


def test_two_processes_end_with_the_weights_of_one(worker: ThisWorker, make_job: Any) -> None:
    jobs = [make_job(**LAYERS, training={"processes": processes}) for processes in (1, 2)]
    for job in jobs:
        assert train_next(worker)
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, job.sentence
    one, two = jobs
    assert two.spec["training"]["processes"] == 2
    assert two.result["weights_sha256"] == one.result["weights_sha256"]
    assert [path.name for path in worker.scratch.folder.iterdir()] == ["lock"]


def test_a_job_paused_in_two_processes_goes_on(worker: ThisWorker, make_job: Any) -> None:
    job = make_job(**LAYERS, training=LONG)
    pause = once(lambda: has_checkpoint(job), lambda: lifecycle.request_pause(job, by="alice"))
    assert train_next(worker)
    pause.join()
    job.refresh_from_db()
    assert job.state == State.PAUSED
    step = job.checkpoints.published()[0].step

    lifecycle.resume(job, by="alice")
    cancel = once(lambda: job.checkpoints.published()[0].step > step, lambda: lifecycle.request_cancel(job, by="alice"))
    assert train_next(worker)
    cancel.join()
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert not module_processes()


def test_a_killed_module_process_fails_the_job_with_its_name(worker: ThisWorker, make_job: Any) -> None:
    job = make_job(**LAYERS, training=LONG)
    kill = once(lambda: has_checkpoint(job), lambda: os.kill(module_processes()[0], signal.SIGKILL))
    assert train_next(worker)
    kill.join()
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.FAILED, "trainer_error")
    assert "Process 2 of 2, which trains some of the layers, was lost: signal 9." in job.sentence
    assert not module_processes()


def test_a_killed_trainer_leaves_no_module_process_behind(worker: ThisWorker, make_job: Any) -> None:
    job = make_job(**LAYERS, training=LONG)
    ends: list[int] = []

    def kill() -> None:
        module = module_processes()[0]
        ends.append(os.pidfd_open(module))
        # The trainer alone, not the group that its supervisor would end.
        os.kill(running()[module].parent, signal.SIGKILL)

    beside = once(lambda: has_checkpoint(job), kill)
    assert train_next(worker)
    beside.join()
    job.refresh_from_db()
    assert (job.state, job.reason) == (State.QUEUED, "trainer_killed")
    assert select.select(ends, [], [], 20)[0], "a module process outlives its trainer"
    os.close(ends[0])


@pytest.mark.parametrize(("algorithm", "messages"), [("synthetic_gradients", 1), ("backprop", 2)])
def test_two_networks_are_trained_as_a_job(algorithm: str, messages: int, worker: ThisWorker, user: Any) -> None:
    spec = {
        "algorithm": algorithm,
        "dataset": "digit_counting",
        "dataset_options": {"images": "digits", "ticks": 2, "messages": messages, "evaluation_streams": 20},
        "network": {"kind": "two_networks", "features": [12], "hidden": 8, "message": 4},
        "training": {"epochs": 2, "steps_per_epoch": 5, "batch_size": 8, "seed": 7, "device": "cpu", "threads": 1},
    }
    job = lifecycle.create_job(user, resolve(spec))
    assert train_next(worker)
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.sentence
    names = {summary.name for summary in job.summaries.all()}
    assert {"test_odd_accuracy", "test_odd_counting_error", "test_threes_accuracy", "validation_accuracy"} <= names
    layers = {row["layer"] for row in job.diagnostics.first().layers}
    assert layers == {"a.layer1", "a.cell", "a.readout", "a.message", "b.cell", "b.readout"}
