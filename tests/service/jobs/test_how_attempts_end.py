"""What a trainer's end makes of its job, each reason told apart, with real trainers."""

import os
import resource
import signal
import threading
from typing import Any

import pytest
from django.db import connection

from service.jobs import lifecycle
from service.jobs.models import Job
from service.jobs.states import State
from service.jobs.supervisor import train_next
from service.jobs.trainer_process import trainer_environment
from service.jobs.worker import ThisWorker
from tests.service.jobs.beside import once

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"epochs": 100_000, "checkpoint_every_epochs": 1}


def has_checkpoint(job: Job) -> bool:
    return job.checkpoints.published().exists()


def trainer(worker: ThisWorker) -> int:
    """Number of the process that trains for this worker, or is warm for it."""
    return worker.bench.latest.pid  # type: ignore[attr-defined]  # the tests' own bench


def ended(job: Job, worker: ThisWorker, *beside: threading.Thread) -> Job:
    assert train_next(worker)
    for thread in beside:
        thread.join()
    job.refresh_from_db()
    return job


def test_a_diverged_run_says_where(worker: ThisWorker, make_job: Any) -> None:
    deep = {"kind": "mlp", "hidden": [64, 64, 64, 64]}
    job = ended(make_job(network=deep, hyperparameters={"learning_rate": 1000.0, "optimizer": "sgd"}), worker)
    assert (job.state, job.reason) == (State.FAILED, "diverged")
    assert job.failure["step"] >= 1
    assert {"layer", "quantity"} <= job.failure.keys()
    assert "diverged" in job.sentence


def test_a_bug_is_reported_with_its_traceback(worker: ThisWorker, make_job: Any) -> None:
    job = make_job()
    spec = job.spec | {"dataset": "nothing"}
    Job.objects.filter(pk=job.pk).update(spec=spec)
    job = ended(job, worker)
    assert (job.state, job.reason) == (State.FAILED, "trainer_error")
    assert "There is no dataset 'nothing'" in job.sentence
    assert any("Traceback" in line.text for line in job.log_lines.all())


def test_a_killed_trainer_costs_a_failure_and_a_pause_until_there_were_too_many(
    worker: ThisWorker, make_job: Any
) -> None:
    job = make_job(training=LONG, max_failures=2)
    kill = once(lambda: has_checkpoint(job), lambda: os.kill(trainer(worker), signal.SIGKILL))
    job = ended(job, worker, kill)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, "trainer_killed", 1)
    assert job.not_before is not None
    assert job.not_before > job.state_at
    Job.objects.filter(pk=job.pk).update(not_before=None)
    kill = once(
        lambda: job.events.filter(type="started").count() == 2, lambda: os.kill(trainer(worker), signal.SIGSEGV)
    )
    job = ended(job, worker, kill)
    assert (job.state, job.reason, job.failures) == (State.FAILED, "trainer_killed", 2)
    assert "2nd time" in job.sentence


def test_max_seconds_ends_a_job_with_its_checkpoint_kept(worker: ThisWorker, make_job: Any) -> None:
    job = ended(make_job(training=LONG, max_seconds=0.5), worker)
    assert (job.state, job.reason) == (State.FAILED, "deadline_exceeded")
    assert job.seconds_trained >= 0.5
    assert has_checkpoint(job)


def test_a_worker_that_stops_hands_its_job_back(worker: ThisWorker, make_job: Any) -> None:
    job = make_job(training=LONG)
    job = ended(job, worker, once(lambda: has_checkpoint(job), worker.stop))
    assert (job.state, job.reason, job.failures) == (State.QUEUED, "worker_stopping", 0)
    last = job.checkpoints.published()[0]
    assert f"at step {last.step:,}" in job.sentence


def test_cancel_wins_over_pause(worker: ThisWorker, make_job: Any) -> None:
    job = make_job(training=LONG)

    def ask() -> None:
        lifecycle.request_pause(job, by="alice")
        lifecycle.request_cancel(job, by="alice")

    job = ended(job, worker, once(lambda: has_checkpoint(job), ask))
    assert job.state == State.CANCELLED
    assert job.checkpoints.published().exists()


def test_a_job_whose_checkpoint_cannot_be_written_says_so_and_keeps_the_one_before(
    worker: ThisWorker, make_job: Any
) -> None:
    job = make_job(training=LONG)

    def fill_the_disk() -> None:
        """No file of the trainer may grow past a few bytes from now on, as on a full disk."""
        resource.prlimit(trainer(worker), resource.RLIMIT_FSIZE, (1_000, 1_000))

    job = ended(job, worker, once(lambda: has_checkpoint(job), fill_the_disk))
    assert (job.state, job.reason) == (State.FAILED, "storage_full")
    assert "no room" in job.sentence
    assert has_checkpoint(job)
    assert not job.checkpoints.filter(published_at__isnull=True).exists()


def test_a_full_database_says_so_and_leaves_nothing_half_visible(worker: ThisWorker, make_job: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION test_full() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF (SELECT count(*) > 1 FROM jobs_checkpoint WHERE job_id =
                    (SELECT job_id FROM jobs_checkpoint WHERE id = NEW.checkpoint_id)) THEN
                    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER test_full BEFORE INSERT ON jobs_checkpointchunk FOR EACH ROW EXECUTE FUNCTION test_full();
            """
        )
    try:
        job = ended(make_job(training=LONG), worker)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER test_full ON jobs_checkpointchunk; DROP FUNCTION test_full()")
    assert (job.state, job.reason) == (State.FAILED, "storage_full")
    assert job.checkpoints.published().count() == 1


def test_a_network_that_does_not_fit_into_memory_is_told_apart(worker: ThisWorker, make_job: Any) -> None:
    wide = {"kind": "mlp", "hidden": [60_000, 60_000]}
    job = make_job(network=wide)
    # No more address space than this for the trainer that waits, as in a small container: the weights alone need 14 GB.
    resource.prlimit(trainer(worker), resource.RLIMIT_AS, (10 << 30, 10 << 30))
    job = ended(job, worker)
    assert (job.state, job.reason) == (State.FAILED, "out_of_memory")
    assert "does not fit into memory" in job.sentence
    assert job.failures == 0
    assert any("Traceback" in line.text for line in job.log_lines.all())


def test_a_trainer_knows_no_address_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "a secret")
    assert "a secret" not in trainer_environment().values()
    assert "PATH" in trainer_environment()


def test_scratch_files_are_gone_afterwards(worker: ThisWorker, make_job: Any) -> None:
    ended(make_job(), worker)
    assert [path.name for path in worker.scratch.folder.iterdir()] == ["lock"]
