"""Fifty jobs while things are killed at random: every one ends once, with the weights of a run that was left alone.

ALTPROP_CHAOS_SEED repeats a failure; the seed in use is printed with it. ALTPROP_CHAOS_JOBS: more or fewer jobs.
"""

import os
import random
from itertools import islice

import pytest
from django.contrib.auth import get_user_model

from service.accounts.tokens import make_token
from service.jobs import lifecycle
from tests.chaos.engine import Engine
from tests.chaos.soak import SPECS, Soak, assert_nothing_is_left, plan

pytestmark = pytest.mark.xdist_group("chaos")  # one engine, whatever the number of workers

JOBS = int(os.environ.get("ALTPROP_CHAOS_JOBS", "50"))


@pytest.mark.slow
def test_fifty_jobs_survive_random_kills(engine: Engine) -> None:
    seed = int(os.environ.get("ALTPROP_CHAOS_SEED", random.randrange(2**31)))
    print(f"ALTPROP_CHAOS_SEED={seed}")
    user = get_user_model().objects.get()
    undisturbed = [engine.wait_for_end(lifecycle.create_job(user, spec)) for spec in SPECS]
    found = Soak(engine, make_token(user)[1], JOBS, seed).run(undisturbed)
    assert sum(found["kills"].values()) > JOBS / 4
    assert_nothing_is_left(engine)
    engine.serve_no_more()


def test_a_seed_stands_for_one_plan() -> None:
    assert list(islice(plan(1), 50)) == list(islice(plan(1), 50))
    assert list(islice(plan(1), 50)) != list(islice(plan(2), 50))
