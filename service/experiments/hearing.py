"""What an experiment hears of its jobs' moves, within the transaction that makes them. It takes no lock.

A job that ends may mean that the next phase begins: the maintenance worker is told, once that is committed. Should
the message be lost, its periodic pass finds out within seconds (tasks.py).
"""

from typing import Any

from django.db import transaction

from service.celery import rings_on_commit
from service.experiments.models import Experiment, Place
from service.jobs.models import Job, Transition
from service.jobs.states import TERMINAL


def hear(sender: Any, transition: Transition, **_: Any) -> None:
    """Receiver of `job_moved`."""
    job = transition.job
    if job.experiment is None:
        return
    if transition.origin is None:
        _inherit(job)
    elif transition.target in TERMINAL and Experiment.objects.unsettled().filter(pk=job.experiment).exists():
        _ring_once()


def _ring_once() -> None:
    """When this transaction commits, however many jobs it ends."""
    from service.experiments import tasks

    if not rings_on_commit(tasks.ring):
        transaction.on_commit(tasks.ring)


def _inherit(job: Job) -> None:
    """A job tried again stands where the one that it was made from stands."""
    place = Place.objects.filter(pk=job.parent_id, experiment=job.experiment).first() if job.parent_id else None
    if place is not None:
        Place.objects.create(
            job=job,
            experiment_id=place.experiment_id,
            phase=place.phase,
            arm=place.arm,
            workload=place.workload,
            seed=place.seed,
            tuned=place.tuned,
            trial=place.trial,
        )
