"""An experiment once more: a new one from the same request, whose jobs name those that they repeat.

That is also how the new one knows its parent: it is the experiment of its jobs' parents, so that nothing is stored
twice, and a parent that was deleted is forgotten everywhere at once.
"""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.jobs.models import Job


@transaction.atomic
def rerun(experiment: Experiment, *, by: Any) -> Experiment:
    """Every job of it again, as a new experiment of `by`; seeds that were added later are in it too.

    Raises SpecError where the request cannot be trained any more, since an algorithm or data set of it has gone.
    """
    again = create_experiment(by, experiment.request)
    first_there: dict[str, UUID] = {}
    for job in experiment.jobs.only("id", "spec"):
        first_there.setdefault(_place(job), job.pk)
    repeating = list(again.jobs.only("id", "spec"))
    for job in repeating:
        job.parent_id = first_there.get(_place(job))
    Job.objects.bulk_update(repeating, ["parent"])
    return again


def parents_of(experiments: Iterable[UUID]) -> dict[UUID, UUID]:
    """By experiment, the one that it repeats; one that repeats none is left out. One query for all."""
    found = (
        Job.objects.filter(experiment__in=list(experiments), parent__experiment__isnull=False)
        .exclude(parent__experiment=F("experiment"))  # a job that was tried again
        .order_by()
        .values_list("experiment", "parent__experiment")
        .distinct()
    )
    return {child: parent for child, parent in found if child is not None and parent is not None}


def _place(job: Job) -> str:
    """What it trains; device and threads, which the first claim fills in, do not belong to it."""
    training = {key: value for key, value in job.spec["training"].items() if key not in ("device", "threads")}
    return json.dumps({**job.spec, "training": training}, sort_keys=True)
