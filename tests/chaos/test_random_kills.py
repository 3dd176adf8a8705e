"""Fifty jobs while things are killed at random: every one ends once, with the weights of a run that was left alone.

ALTPROP_CHAOS_SEED repeats a failure; the seed in use is printed with it. ALTPROP_CHAOS_JOBS: more or fewer jobs.
"""

import os
import random
import time

import pytest

from service.jobs.models import Job
from service.jobs.states import TERMINAL
from tests.chaos.conftest import Submit, assert_same_run
from tests.chaos.engine import Engine, kill, wait_until
from tests.chaos.test_kills_at_named_moments import kill_maintenance, stop_postgres, wipe_redis

JOBS = int(os.environ.get("ALTPROP_CHAOS_JOBS", "50"))
PATIENCE = 1_800.0


@pytest.mark.slow
def test_fifty_jobs_survive_random_kills(engine: Engine, submit: Submit, undisturbed: Job) -> None:
    seed = int(os.environ.get("ALTPROP_CHAOS_SEED", random.randrange(2**31)))
    print(f"ALTPROP_CHAOS_SEED={seed}")
    chance = random.Random(seed)
    jobs = [submit(max_failures=1_000) for _ in range(JOBS)]
    numbers = [job.pk for job in jobs]
    deadline = time.monotonic() + PATIENCE

    def left() -> int:
        return Job.objects.filter(pk__in=numbers).exclude(state__in=TERMINAL).count()

    while wait_until(lambda: left() + 1, "the database") > 1:
        assert time.monotonic() < deadline, f"seed {seed}: {left()} jobs have not ended"
        # At a random instant, which is the point of this test: what runs meanwhile is not to be waited for.
        time.sleep(chance.uniform(0.2, 4.0))
        disturb(engine, chance)
        engine.heal()
    for job in jobs:
        job.refresh_from_db()
        assert_same_run(job, undisturbed)


def disturb(engine: Engine, chance: random.Random) -> None:
    """Kill one thing."""
    match chance.choices(["trainer", "worker", "maintenance", "postgres", "redis"], [5, 5, 1, 1, 2])[0]:
        case "trainer":
            trainers = sorted(p.pid for p in engine.everything() if p.pid == p.group and _is_trainer(p.pid))
            if trainers:
                kill(chance.choice(trainers))
        case "worker":
            program = engine.programs[chance.choice(engine.names)]
            program.kill()
            program.wait()
        case "maintenance":
            kill_maintenance(engine, Job())
        case "postgres":
            stop_postgres(engine, Job())
        case "redis":
            wipe_redis(engine, Job())


def _is_trainer(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"trainers.serve" in file.read()
    except OSError:
        return False
