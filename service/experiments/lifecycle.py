"""Making an experiment with all its jobs, adding seeds, and steering all jobs at once; each in one transaction."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from service.experiments.matrix import Matrix, plan, seed_of, with_seed
from service.experiments.models import Experiment
from service.experiments.request import MOST_JOBS, ExperimentRequest, MoreSeeds
from service.jobs import dispatch, lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job
from service.jobs.states import TERMINAL
from trainers.errors import FieldError, SpecError
from trainers.spec import TrainingSpec, parse_model, parse_spec

MOST_RINGS = 16
"""Doorbells for a new experiment; whoever has not heard one is told by the dispatcher within seconds."""


def create_experiment(owner: Any, request: Mapping[str, Any]) -> Experiment:
    """The experiment that a decoded body asks for, with all its jobs queued.

    Raises SpecError that names every wrong field; nothing is queued then.
    """
    matrix = plan(request)  # before the transaction: it may take a second and writes nothing
    with transaction.atomic():
        experiment = Experiment(
            owner=owner,
            name=matrix.request.name or _usual_name(matrix),
            request=matrix.request.model_dump(mode="json"),
            workloads=list(matrix.workloads),
            properties=matrix.properties,
        )
        experiment.save(force_insert=True)
        experiment.refresh_from_db()
        queues = [_create_job(experiment, spec, matrix.request).queue for spec in matrix.specs]
        transaction.on_commit(lambda: _ring(queues))
    return experiment


def add_seeds(experiment: Experiment, request: Mapping[str, Any]) -> Experiment:
    """Train every arm with further seeds, on the very specs that its jobs have but for the seed.

    Raises SpecError, and TransitionRefused once the experiment was cancelled.
    """
    wanted = parse_model(MoreSeeds, request).seeds
    with transaction.atomic():
        experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
        if experiment.cancelled_at is not None:
            raise TransitionRefused("This experiment was cancelled. Start another one with the seeds that you want.")
        places: dict[str, TrainingSpec] = {}
        used: set[int] = set()
        for stored in experiment.jobs.values_list("spec", flat=True):
            spec = parse_spec(stored)
            used.add(seed_of(spec))
            places.setdefault(with_seed(spec, 0).model_dump_json(), spec)
        _check_seeds(wanted, used, arms=len(places), jobs=experiment.jobs.count())
        asked = parse_model(ExperimentRequest, experiment.request)
        jobs = [_create_job(experiment, with_seed(spec, seed), asked) for seed in wanted for spec in places.values()]
        experiment.request = {**experiment.request, "seeds": [*asked.seed_list(), *wanted]}
        experiment.save(update_fields=["request"])
        transaction.on_commit(lambda: _ring([job.queue for job in jobs]))
    return experiment


@transaction.atomic
def request_cancel(experiment: Experiment, *, by: Any) -> Experiment:
    """Cancel every job that has not ended; those that a worker holds end within seconds. Raises TransitionRefused."""
    experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
    if not _steer(experiment, lifecycle.request_cancel, by) and experiment.cancelled_at is None:
        raise TransitionRefused("All jobs of this experiment have ended; there is nothing left to cancel.")
    if experiment.cancelled_at is None:
        Experiment.objects.filter(pk=experiment.pk).update(cancelled_at=Now())
        experiment.refresh_from_db()
    return experiment


@transaction.atomic
def request_pause(experiment: Experiment, *, by: Any) -> Experiment:
    """Pause every job that waits or trains; those that train save a checkpoint first. Raises TransitionRefused."""
    if not _steer(experiment, lifecycle.request_pause, by):
        raise TransitionRefused("No job of this experiment waits or trains; there is nothing to pause.")
    return experiment


@transaction.atomic
def resume(experiment: Experiment, *, by: Any) -> Experiment:
    """Queue every paused job again. Raises TransitionRefused."""
    if not _steer(experiment, lifecycle.resume, by):
        raise TransitionRefused("No job of this experiment is paused. One that is pausing can be resumed once it has.")
    return experiment


def _create_job(experiment: Experiment, spec: TrainingSpec, request: ExperimentRequest) -> Job:
    return lifecycle.create_job(
        experiment.owner,
        spec,
        name=f"{spec.algorithm} on {spec.dataset}, seed {seed_of(spec)}"[:200],
        priority=request.priority,
        queue=request.queue,
        experiment=experiment.pk,
        announced=False,
    )


def _steer(experiment: Experiment, move: Callable[..., Job], by: Any) -> int:
    """Make this move with every job whose state allows it; returns how many there were."""
    moved = 0
    for job in experiment.jobs.exclude(state__in=TERMINAL):
        with contextlib.suppress(TransitionRefused):  # also one that has just ended
            move(job, by=by)
            moved += 1
    return moved


def _check_seeds(wanted: list[int], used: set[int], *, arms: int, jobs: int) -> None:
    problems = [
        FieldError(f"#/seeds/{place}", f"Seed {seed} is already in this experiment.", seed)
        for place, seed in enumerate(wanted)
        if seed in used
    ]
    if jobs + arms * len(wanted) > MOST_JOBS:
        fitting = max(0, (MOST_JOBS - jobs) // max(arms, 1))
        sentence = f"An experiment has at most {MOST_JOBS:,} jobs; this one has room for {fitting} more seeds."
        problems.append(FieldError("#/seeds", sentence, wanted))
    if problems:
        raise SpecError.of(problems)


def _ring(queues: list[str]) -> None:
    for queue in dict.fromkeys(queues):
        for _ in range(min(queues.count(queue), MOST_RINGS)):
            if not dispatch.ring(queue):
                return  # each try at a broker that is away takes seconds, and this is a request


def _usual_name(matrix: Matrix) -> str:
    request = matrix.request
    return f"{', '.join(request.algorithms)} on {', '.join(request.datasets)}"[:200]
