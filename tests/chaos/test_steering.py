"""Cancel, pause, stop in good order, and a worker that sleeps past its lease: in real processes."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from service.jobs import lifecycle
from service.jobs.models import Job
from service.jobs.states import State
from service.local_stack import processes
from tests.chaos.conftest import SPEC, Submit, assert_same_run
from tests.chaos.engine import PATIENCE, Engine, wait_until
from tests.chaos.gates import stopped_at
from tests.service.servers import PLACEHOLDERS

pytestmark = pytest.mark.xdist_group("chaos")  # one engine, whatever the number of workers

LONG = SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"epochs": 100_000})})


def wait_for_training(engine: Engine, job: Job) -> None:
    """Until it has stored a checkpoint."""
    wait_until(lambda: job.checkpoints.published().exists(), "a checkpoint")


def test_no_celery_process_pays_for_torch_and_no_trainer_knows_a_server(engine: Engine, submit: Submit) -> None:
    job = submit(LONG)
    wait_for_training(engine, job)
    mapped = {p.pid: "libtorch" in Path(f"/proc/{p.pid}/maps").read_text() for p in engine.everything()}
    assert mapped[engine.trainer_of(job)]
    assert not mapped[engine.supervisor_of(job)]
    assert not any(mapped[program.pid] for program in engine.programs.values())
    # Its supervisor knows the servers; it does not.
    known_above, known = (
        Path(f"/proc/{pid}/environ").read_text() for pid in (engine.supervisor_of(job), engine.trainer_of(job))
    )
    for secret in (engine.postgres.url, engine.redis.url, PLACEHOLDERS["SECRET_KEY"]):
        assert secret in known_above
        assert secret not in known
    lifecycle.request_cancel(job, by="alice")
    engine.wait_for_state(job, State.CANCELLED)


def test_cancel_is_honoured_within_five_seconds_and_frees_the_trainer(engine: Engine, submit: Submit) -> None:
    job = submit(LONG)
    wait_for_training(engine, job)
    trainer = engine.trainer_of(job)
    asked = time.monotonic()
    lifecycle.request_cancel(job, by="alice")
    engine.wait_for_state(job, State.CANCELLED, patience=5)
    assert time.monotonic() - asked < 5
    assert trainer not in processes.running()
    assert job.transitions.order_by("-id")[0].by.startswith("worker ")  # not the reaper, much later


def test_a_paused_job_goes_on_to_the_same_weights(engine: Engine, submit: Submit, undisturbed: Job) -> None:
    job = submit()
    with ThreadPoolExecutor(1) as other, stopped_at(job, "mid_epoch", engine.postgres.url):
        asked = time.monotonic()
        pausing = other.submit(_pause, job)  # waits for the row, which the supervisor holds at this moment
    assert pausing.result() == State.PAUSING
    engine.wait_for_state(job, State.PAUSED, patience=5)
    assert time.monotonic() - asked < 5
    assert "resuming goes on from there" in job.sentence
    lifecycle.resume(job, by="alice")
    assert_same_run(engine.wait_for_end(job), undisturbed)
    assert job.failures == 0
    assert job.attempt == 2


def test_a_worker_stopped_in_good_order_hands_its_job_back(engine: Engine, submit: Submit, undisturbed: Job) -> None:
    job = submit()
    with stopped_at(job, "mid_epoch", engine.postgres.url):
        name = engine.worker_of(job)
        engine.programs[name].terminate()
    assert engine.programs[name].wait(PATIENCE) == 0
    handed_back = job.transitions.get(reason="worker_stopping").sentence
    assert_same_run(engine.wait_for_end(job), undisturbed)
    resumed_at = job.events.filter(type="started").last().data["resumed_at"]
    assert f"at step {resumed_at:,};" in handed_back  # not one step is trained again
    assert job.failures == 0
    assert job.worker_name != name


def test_a_worker_that_wakes_up_after_its_lease_writes_nothing(
    engine: Engine, submit: Submit, undisturbed: Job
) -> None:
    job = submit()
    with stopped_at(job, "mid_epoch", engine.postgres.url):
        sleeper, first = engine.supervisor_of(job), engine.worker_of(job)
        os.kill(sleeper, signal.SIGSTOP)
    try:
        assert_same_run(engine.wait_for_end(job), undisturbed)
        assert job.worker_name != first
        before = _everything_stored(job)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    wait_until(lambda: "has lost it" in engine.logs[first].read_text(), "the sleeper to notice")
    job.refresh_from_db()
    assert _everything_stored(job) == before


def test_nothing_outlives_a_worker_that_is_killed(engine: Engine, submit: Submit) -> None:
    job = submit(LONG)
    wait_for_training(engine, job)
    program = engine.programs[engine.worker_of(job)]
    family = processes.family([program.pid], processes.running())
    grown = family | processes.family([engine.supervisor_of(job)], processes.running())
    assert len(grown) >= 3  # main process, pool child, trainer
    program.kill()
    program.wait()
    assert not processes.wait_until_gone(grown, patience=10)
    lifecycle.request_cancel(job, by="alice")
    engine.wait_for_state(job, State.CANCELLED)


def _pause(job: Job) -> str:
    try:
        return lifecycle.request_pause(job, by="alice").state
    finally:
        connection.close()


def _everything_stored(job: Job) -> tuple[object, ...]:
    return (
        job.state,
        job.attempt,
        job.result,
        list(job.summaries.values_list()),
        list(job.checkpoints.values_list("id", "sha256", "kinds")),
        list(job.transitions.values_list()),
        list(job.log_lines.values_list()),
    )
