"""Whatever is killed, and whenever: the job ends once, with the weights and points of a run that was left alone."""

from collections.abc import Callable

import pytest

from service.jobs.models import Job
from tests.chaos.conftest import Submit, assert_same_run
from tests.chaos.engine import Engine, kill
from tests.chaos.gates import MOMENTS, closed

pytestmark = pytest.mark.xdist_group("chaos")  # one engine, whatever the number of workers


def kill_trainer(engine: Engine, job: Job) -> None:
    kill(engine.trainer_of(job))


def kill_supervisor(engine: Engine, job: Job) -> None:
    """The pool child; Celery starts another one."""
    kill(engine.supervisor_of(job))


def kill_worker(engine: Engine, job: Job) -> None:
    """Its main process; the child is ended by its death signal."""
    engine.kill(engine.worker_of(job))


def kill_maintenance(engine: Engine, job: Job) -> None:
    engine.kill("maintenance")


def kill_beat(engine: Engine, job: Job) -> None:
    engine.kill("beat")


def stop_postgres(engine: Engine, job: Job) -> None:
    engine.stop_postgres()


def wipe_redis(engine: Engine, job: Job) -> None:
    engine.wipe_redis()


def kill_everything(engine: Engine, job: Job) -> None:
    """All at once, as when the machine loses power."""
    kill(engine.trainer_of(job))
    for name in engine.programs:
        engine.kill(name)
    engine.wipe_redis()
    engine.stop_postgres()


KILLS = (
    kill_trainer,
    kill_supervisor,
    kill_worker,
    kill_maintenance,
    kill_beat,
    stop_postgres,
    wipe_redis,
    kill_everything,
)
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
    if (do, moment) not in QUICK and not (do in (kill_trainer, kill_everything) and moment == "last_write")
]


@pytest.mark.parametrize(
    ("do", "moment"),
    [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in REST)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_disturbed_job_ends_bit_identical(
    engine: Engine, submit: Submit, undisturbed: Job, do: Callable[[Engine, Job], None], moment: str
) -> None:
    with closed(moment, engine.postgres.url) as reached:
        job = submit()
        reached()
        do(engine, job)
    engine.heal()
    assert_same_run(engine.wait_for_end(job), undisturbed)
