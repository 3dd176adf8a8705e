"""Making an experiment with all its jobs, and cancelling it; each in one transaction."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from service.experiments.matrix import Matrix, plan
from service.experiments.models import Experiment
from service.jobs import dispatch, lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job
from service.jobs.states import TERMINAL, State

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
        queues = [_create_job(experiment, spec, matrix).queue for spec in matrix.specs]
        transaction.on_commit(lambda: _ring(queues))
    return experiment


@transaction.atomic
def request_cancel(experiment: Experiment, *, by: Any) -> Experiment:
    """Cancel every job that has not ended; those that a worker holds end within seconds. Raises TransitionRefused."""
    experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
    waiting = [job for job in experiment.jobs.exclude(state__in=TERMINAL) if job.state != State.CANCELLING]
    cancelled = [job for job in waiting if _cancel(job, by)]
    if not cancelled and experiment.cancelled_at is None:
        raise TransitionRefused("All jobs of this experiment have ended; there is nothing left to cancel.")
    if experiment.cancelled_at is None:
        Experiment.objects.filter(pk=experiment.pk).update(cancelled_at=Now())
        experiment.refresh_from_db()
    return experiment


def _create_job(experiment: Experiment, spec: Any, matrix: Matrix) -> Job:
    return lifecycle.create_job(
        experiment.owner,
        spec,
        name=f"{spec.algorithm} on {spec.dataset}, seed {spec.training.seed}"[:200],
        priority=matrix.request.priority,
        queue=matrix.request.queue,
        experiment=experiment.pk,
        announced=False,
    )


def _cancel(job: Job, by: Any) -> bool:
    """Whether it was still to be cancelled: a job may end while this runs."""
    try:
        lifecycle.request_cancel(job, by=by)
    except TransitionRefused:
        return False
    return True


def _ring(queues: list[str]) -> None:
    for queue in dict.fromkeys(queues):
        for _ in range(min(queues.count(queue), MOST_RINGS)):
            if not dispatch.ring(queue):
                return  # each try at a broker that is away takes seconds, and this is a request


def _usual_name(matrix: Matrix) -> str:
    request = matrix.request
    return f"{', '.join(request.algorithms)} on {', '.join(request.datasets)}"[:200]
