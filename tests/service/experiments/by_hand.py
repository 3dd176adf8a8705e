"""Ends an experiment's jobs as a worker would, without training: each with the scores that a test gives it."""

from collections.abc import Callable
from typing import Any

from service.experiments.follow_ups import advance
from service.experiments.models import Experiment, Place
from service.jobs import lifecycle
from service.jobs.metrics import store_metrics
from service.jobs.states import Reason, State
from tests.service.api.work import claim_next
from trainers.events import Metrics

Score = Callable[[Place], float | None]


def end_next(score: Score, *, seconds: float = 1.0) -> Place:
    """Claim the next job and end it with this accuracy, on validation and test data alike; None: it diverged."""
    lease = claim_next()
    place = Place.objects.select_related("job").get(pk=lease.job)
    found = score(place)
    if found is None:
        lifecycle.fail(lease, Reason.DIVERGED, "It diverged.", seconds_trained=seconds)
    else:
        result: dict[str, Any] = {"test_accuracy": found, "validation_accuracy": found}
        lifecycle.succeed(lease, result, progress={"fraction": 1.0}, seconds_trained=seconds)
    return place


def end_all(experiment: Experiment, score: Score, *, seconds: float = 1.0) -> int:
    """Every job that waits now, in the order of the queue; returns how many."""
    waiting = experiment.jobs.filter(state=State.QUEUED).count()
    for _ in range(waiting):
        end_next(score, seconds=seconds)
    return waiting


def advanced(experiment: Experiment) -> Experiment:
    """What the maintenance worker does, and the row after it."""
    advance(experiment.pk)
    return Experiment.objects.get(pk=experiment.pk)


def at_epoch(epoch: int, accuracy: float) -> Metrics:
    """What a trainer says at the end of an epoch."""
    values = {"validation_accuracy": accuracy, "test_accuracy": accuracy}
    return Metrics(step=10 * epoch, epoch=epoch, passes=epoch, samples=100, seconds=float(epoch), values=values)


def train_some(*curve: float) -> Any:
    """Claim the next job and train it so far; the lease, for what comes after."""
    lease = claim_next()
    store_metrics(lease, [at_epoch(epoch, accuracy) for epoch, accuracy in enumerate(curve, 1)])
    return lease
