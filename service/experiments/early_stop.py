"""The median rule (Golovin et al. 2017, "Google Vizier", section 3.2): runs that fall behind are stopped.

A run that has trained e epochs is stopped if its best validation accuracy so far is below the median, over the runs
that have ended on its workload, of their average up to epoch e. What is stopped is published and counts as it stands.
Backprop and the controls are never stopped: the comparison's scale and its target rest on their whole runs.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from uuid import UUID

from django.db import connection

from service.experiments.arms import ALWAYS_THERE
from service.experiments.models import Experiment, Phase, Place
from service.experiments.rules import EarlyStop
from service.jobs import lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.states import State

RULE = "median"

Curve = Sequence[tuple[int, float]]
"""(epochs finished, validation accuracy), in the order in which they were measured."""


def enforce(experiment: Experiment, rule: EarlyStop) -> None:
    """Stop what the rule calls hopeless now. The row is locked."""
    candidates = [place for place in _running(experiment) if place.job.algorithm not in ALWAYS_THERE]
    if not candidates:
        return
    curves = _curves(experiment)
    ended: dict[tuple[int, bool], list[Curve]] = defaultdict(list)
    whole = experiment.places.exclude(phase=Phase.TUNING).filter(job__state=State.SUCCEEDED)
    for id, workload, tuned in whole.values_list("job_id", "workload", "tuned"):
        ended[workload, tuned].append(curves.get(id, ()))
    for place in candidates:
        verdict = hopeless(curves.get(place.pk, ()), ended[place.workload, place.tuned], rule)
        if verdict is not None:
            _stop(place, *verdict)


def hopeless(mine: Curve, others: Sequence[Curve], rule: EarlyStop) -> tuple[int, float, float] | None:
    """Epoch, best value and median if the run is to be stopped, else None. Pure."""
    if not mine:
        return None
    epoch = mine[-1][0]
    averages = [average for curve in others if (average := _average(curve, epoch)) is not None]
    if epoch < rule.after_epochs or len(averages) < rule.least_runs:
        return None
    best, middle = max(value for _, value in mine), median(averages)
    return (epoch, best, middle) if best < middle else None


def _average(curve: Curve, epoch: int) -> float | None:
    values = [value for at, value in curve if at <= epoch]
    return sum(values) / len(values) if values else None


def _running(experiment: Experiment) -> list[Place]:
    places = experiment.places.exclude(phase=Phase.TUNING).filter(job__state=State.RUNNING, stopped__isnull=True)
    return list(places.select_related("job"))


def _curves(experiment: Experiment) -> Mapping[UUID, Curve]:
    """Of all jobs of the comparison, in one query. A value that was no number counts as nothing reached."""
    found: dict[UUID, list[tuple[int, float]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT place.job_id, point.epoch, point.value
            FROM experiments_place AS place
            JOIN jobs_metricsummary AS series ON series.job_id = place.job_id AND series.name = 'validation_accuracy'
            JOIN jobs_metricpoint AS point ON point.series_id = series.id
            WHERE place.experiment_id = %s AND place.phase <> 'tuning'
            ORDER BY point.series_id, point.step
            """,
            [experiment.pk],
        )
        for job, epoch, value in cursor.fetchall():
            found[job].append((epoch, 0.0 if value is None or math.isnan(value) else value))
    return found


def _stop(place: Place, epoch: int, best: float, middle: float) -> None:
    sentence = (
        f"Stopped by the median rule after {epoch} epochs: its best validation accuracy, {best:.4f}, is below "
        f"{middle:.4f}, the median of the runs that have ended."
    )
    try:
        lifecycle.request_cancel(place.job, by="experiment, median rule")
    except TransitionRefused:
        return  # it has just ended by itself
    told = {"rule": RULE, "sentence": sentence, "epoch": epoch, "best": best, "median": middle}
    Place.objects.filter(pk=place.pk).update(stopped=told)
