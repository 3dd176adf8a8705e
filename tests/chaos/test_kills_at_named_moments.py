"""Whatever is killed, and whenever: the job ends once, with the weights and points of a run that was left alone."""

import os
import shutil
import signal
from collections.abc import Callable

import pytest

from service.jobs.models import Job
from tests.chaos.conftest import Submit, assert_same_run
from tests.chaos.engine import Engine, kill
from tests.chaos.gates import MOMENTS, stopped_at


def kill_trainer(engine: Engine, job: Job) -> None:
    kill(engine.trainer_of(job))


def kill_supervisor(engine: Engine, job: Job) -> None:
    """The pool child; Celery starts another one."""
    kill(engine.supervisor_of(job))


def kill_worker(engine: Engine, job: Job) -> None:
    """Its main process; the child is ended by its death signal."""
    program = engine.programs[engine.worker_of(job)]
    program.kill()
    program.wait()


def kill_maintenance(engine: Engine, job: Job) -> None:
    for name in ("maintenance", "beat"):
        engine.programs[name].kill()
        engine.programs[name].wait()


def stop_postgres(engine: Engine, job: Job) -> None:
    """At once, as when the machine loses power; it recovers from its log."""
    os.kill(engine.postgres.process.pid, signal.SIGQUIT)
    engine.postgres.process.wait()


def wipe_redis(engine: Engine, job: Job) -> None:
    """Killed, with all that it had."""
    engine.redis.process.kill()
    engine.redis.process.wait()
    shutil.rmtree(engine.folder / "redis" / "data")


KILLS = (kill_trainer, kill_supervisor, kill_worker, kill_maintenance, stop_postgres, wipe_redis)
QUICK = [
    (kill_trainer, "mid_epoch"),
    (kill_supervisor, "last_write"),
    (kill_worker, "mid_checkpoint"),
    (stop_postgres, "mid_checkpoint"),
    (wipe_redis, "claimed"),
]
# At its last write a job has no trainer any more.
REST = [
    (do, moment)
    for do in KILLS
    for moment in MOMENTS
    if (do, moment) not in QUICK and (do, moment) != (kill_trainer, "last_write")
]


@pytest.mark.parametrize(
    ("do", "moment"),
    [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in REST)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_disturbed_job_ends_bit_identical(
    engine: Engine, submit: Submit, undisturbed: Job, do: Callable[[Engine, Job], None], moment: str
) -> None:
    job = submit()
    with stopped_at(job, moment, engine.postgres.url):
        do(engine, job)
    engine.heal()
    assert_same_run(engine.wait_for_end(job), undisturbed)
