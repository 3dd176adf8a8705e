"""A user, jobs on real data, and a worker without Celery: the parts that every test of the engine uses."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from service.jobs import lifecycle
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.trainer_process import Bench, TrainerProcess
from service.jobs.worker import ThisWorker
from trainers.resolve import resolve

MakeJob = Callable[..., Job]


@pytest.fixture
def user(db: None) -> Any:
    return get_user_model().objects.create_user("alice", password="not a secret")


@pytest.fixture
def make_job(user: Any) -> MakeJob:
    """A queued job on digits; `training`, `network` and the job's own options as keywords."""

    def make(*, owner: Any = user, training: dict[str, Any] | None = None, **options: Any) -> Job:
        spec = {
            "algorithm": options.pop("algorithm", "backprop"),
            "dataset": options.pop("dataset", "digits"),
            "dataset_options": options.pop("dataset_options", {}),
            "network": options.pop("network", {"kind": "mlp", "hidden": [16]}),
            "hyperparameters": options.pop("hyperparameters", {}),
            "training": {"epochs": 2, "seed": 7, "device": "cpu", "threads": 1, **(training or {})},
        }
        return lifecycle.create_job(owner, resolve(spec), **options)

    return make


class LastingBench(Bench):
    """Outlives its worker, so that the trainer warmed after one test serves the next."""

    latest: TrainerProcess
    """The one that trains, or else that is warm."""

    def warm(self) -> None:
        super().warm()
        assert self._next is not None
        self.latest = self._next

    def close(self) -> None:
        """Later, by `end`."""

    def end(self) -> None:
        super().close()


@cache
def bench_of_this_process() -> LastingBench:
    """One, though other folders' tests have the fixture too: each warm trainer is a process with torch in it."""
    return LastingBench()


@pytest.fixture(scope="session")
def bench() -> Iterator[LastingBench]:
    yield bench_of_this_process()
    bench_of_this_process().end()


@pytest.fixture
def worker(transactional_db: None, bench: Bench, tmp_path: Path, settings: Any) -> Iterator[ThisWorker]:
    settings.ALTPROP_SCRATCH_DIR = str(tmp_path / "scratch")
    with ThisWorker(Identity.new("cpu-1", cores=2), bench) as worker:
        yield worker
