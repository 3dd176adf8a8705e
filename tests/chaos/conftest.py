"""One engine for all chaos tests of a pytest-xdist worker, and the run that disturbed ones are compared with."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tests.service.servers  # noqa: F401 (sets Django up, which the imports below need)

# isort: split
from django.contrib.auth import get_user_model
from django.core.management import call_command

from service.celery import app
from service.jobs import lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.metrics import read_points
from service.jobs.models import Job
from service.jobs.states import TERMINAL
from tests.chaos import alarms, gates
from tests.chaos.engine import Engine, pointed_at
from trainers.resolve import resolve
from trainers.spec import TrainingSpec

Submit = Callable[..., Job]


@contextlib.contextmanager
def open_engine(workers: int = 2) -> Iterator[Engine]:
    """An engine with a migrated database that Django's connections go to, gates, alarms and a user, ready to train."""
    with Engine(workers) as engine, pointed_at(engine.postgres.url):
        before = app.conf.broker_url
        _ring_at(engine.redis.url)
        try:
            call_command("migrate", verbosity=0)
            gates.install()
            alarms.install()
            get_user_model().objects.create_user("alice")
            engine.heal()
            engine.wait_for_workers()
            yield engine
        finally:
            _ring_at(before)


def _ring_at(broker: str) -> None:
    """Messages of this process go there from now on; a pool of connections that was closed would refuse them all."""
    app.conf.broker_url = broker
    app._after_fork()  # forgets its pools, as it does in a new process


@pytest.fixture(scope="session")
def whole_engine(django_test_environment: None, django_db_blocker: Any) -> Iterator[Engine]:
    with django_db_blocker.unblock(), open_engine() as engine:
        yield engine


@pytest.fixture
def engine(whole_engine: Engine, django_db_blocker: Any) -> Iterator[Engine]:
    """Whole before each test, whatever the one before has killed; its log is printed when a test fails."""
    with django_db_blocker.unblock():
        whole_engine.heal()
        yield whole_engine
    for name, path in whole_engine.logs.items():
        print(f"--- {name}\n{path.read_text(errors='replace')[-4000:]}")


# It says more than a pipe holds: a trainer whose supervisor stands still cannot run on to its end.
SPEC: TrainingSpec = resolve(
    {
        "algorithm": "backprop",
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [64]},
        "training": {
            "epochs": 40,
            "batch_size": 32,
            "seed": 11,
            "device": "cpu",
            "threads": 1,
            "evaluate_every_steps": 5,
            "checkpoint_every_epochs": 4,
        },
    }
)


@pytest.fixture
def submit(engine: Engine) -> Iterator[Submit]:
    """Makes a job; one that a failed test leaves behind keeps no worker from the next test."""

    def submit(spec: TrainingSpec = SPEC, **options: Any) -> Job:
        return lifecycle.create_job(get_user_model().objects.get(), spec, **options)

    yield submit
    engine.heal()
    for job in Job.objects.exclude(state__in=TERMINAL):
        with contextlib.suppress(TransitionRefused):
            lifecycle.request_cancel(job, by="the next test")


@pytest.fixture(scope="session")
def undisturbed(whole_engine: Engine, django_db_blocker: Any) -> Job:
    """The same run, left alone."""
    with django_db_blocker.unblock():
        whole_engine.heal()
        job = whole_engine.wait_for_end(lifecycle.create_job(get_user_model().objects.get(), SPEC))
    assert job.state == "succeeded", job.sentence
    return job


def curves_of(job: Job) -> dict[str, list[tuple[int, float]]]:
    """Every point of every curve."""
    found = {}
    for summary in job.summaries.all():
        points = read_points(summary.id)
        found[summary.name] = list(zip(points["step"].tolist(), points["value"].tolist(), strict=True))
        assert len(found[summary.name]) == summary.count
    return found


def assert_same_run(job: Job, undisturbed: Job) -> None:
    """Ended once, with the same weights to the last bit, and the same points: none lost, none doubled."""
    assert job.state == "succeeded", f"{job.reason}: {job.sentence} {job.failure}"
    assert job.transitions.filter(target__in=TERMINAL).count() == 1
    assert job.result["weights_sha256"] == undisturbed.result["weights_sha256"]
    assert curves_of(job) == curves_of(undisturbed)
    assert not job.checkpoints.filter(published_at__isnull=True).exists()
