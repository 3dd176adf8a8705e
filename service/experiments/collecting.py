"""From rows to the comparison's plain data: each job that has ended becomes a `Run`.

What an arm is compared by was fixed when the experiment was made (workloads with their chance level, declared
properties) and is read from its row; nothing here needs the trainers' registry, and so no torch.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import BooleanField, F, Func
from numpy.typing import NDArray

from service.comparison.axes import epoch_fractions
from service.comparison.protocol import CONTROLS
from service.comparison.runs import (
    Cost,
    Curve,
    Diagnostics,
    Experiment,
    Proof,
    Property,
    Run,
    RunState,
    Tuning,
    Workload,
    run_state,
)
from service.experiments import early_stop, models
from service.experiments.planning import TITLES
from service.experiments.provenance import provenance_of
from service.jobs.metrics import read_points
from service.jobs.models import Diagnostic, Job, MetricSummary
from service.jobs.states import TERMINAL, State

SCORE = "test_accuracy"
DECIDING = "validation_accuracy"
LOSSES = ("train_loss", "validation_loss")
MOST_MOMENTS = 20
"""Diagnosed steps kept of a job: medians over time and a curve need no more."""

Urls = Callable[[UUID], str]


def collect(experiment: models.Experiment, job_url: Urls, url: str | None = None, *, tuned: bool = False) -> Experiment:
    """All runs that have ended, with provenance: those with tuned hyperparameters, or those with what was asked for.

    `job_url` gives the address of a job's raw data.
    """
    places = _ended(experiment, tuned=tuned)
    jobs = [place.job for place in places]
    known = _Known(
        workloads=_workloads(experiment),
        properties={
            arm: tuple(Property(name, each["needed"], each["reason"]) for name, each in declared.items())
            for arm, declared in experiment.properties.items()
        },
        curves=_curves(jobs),
        health=_health(jobs),
        stopped=_last_scores(places),
        url=job_url,
    )
    runs = tuple(_run(place, known) for place in _one_a_seed(places))
    total = _comparison(experiment, tuned=tuned).count()
    unfinished = "" if len(jobs) == total else f" (so far: {len(jobs)} of {total} jobs have ended)"
    return Experiment(
        name=experiment.name + unfinished,
        runs=runs,
        controls=_controls(experiment),
        tuning=_tuning(experiment),
        provenance=provenance_of(experiment, jobs, total, tuned=tuned),
        url=url,
        tuned=tuned,
    )


def plain_runs(experiment: models.Experiment, *, tuned: bool = False) -> list[Run]:
    """All runs that have ended with their final metrics alone, for rules that look at nothing else."""
    places = _ended(experiment, tuned=tuned)
    known = _Known(workloads=_workloads(experiment), stopped=_last_scores(places))
    return [_run(place, known) for place in _one_a_seed(places)]


def _comparison(experiment: models.Experiment, *, tuned: bool) -> Any:
    return experiment.places.exclude(phase=models.Phase.TUNING).filter(tuned=tuned)


def _ended(experiment: models.Experiment, *, tuned: bool) -> list[models.Place]:
    places = _comparison(experiment, tuned=tuned).filter(job__state__in=TERMINAL)
    return list(places.select_related("job").defer("job__progress").order_by("job_id"))


def _workloads(experiment: models.Experiment) -> list[Workload]:
    return [Workload(each["dataset"], each["label"], each["chance"], SCORE) for each in experiment.workloads]


def _controls(experiment: models.Experiment) -> tuple[str, ...]:
    """Also a control with other hyperparameters is a control."""
    varied = {arm["name"] for arm in experiment.arms if arm["algorithm"] in CONTROLS}
    return (*CONTROLS, *sorted(varied - set(CONTROLS)))


def _tuning(experiment: models.Experiment) -> tuple[Tuning, ...]:
    """Facts of each algorithm's search space, so they stand in both tables."""
    workloads = _workloads(experiment)
    return tuple(
        Tuning(each["arm"], workloads[each["workload"]].key, tuple(each["scores"]), seconds=each["seconds"])
        for each in (experiment.tuning or {}).get("best", [])
    )


def _one_a_seed(places: Iterable[models.Place]) -> list[models.Place]:
    """The first in each place; one tried again counts only where the first was lost. Runs that went wrong stay."""
    found: dict[tuple[str, int, int], models.Place] = {}
    for place in places:
        where = (place.arm, place.workload, place.seed)
        if where not in found or _is_lost(found[where]):
            found[where] = place
    return list(found.values())


def _is_lost(place: models.Place) -> bool:
    return not _was_stopped(place) and run_state(place.job.state, place.job.reason) is RunState.LOST


def _was_stopped(place: models.Place) -> bool:
    """By the median rule: it counts as it stands. (It may have ended by itself a moment before the rule reached it.)"""
    told = place.stopped or {}
    return told.get("rule") == early_stop.RULE and place.job.state == State.CANCELLED


@dataclass(slots=True)
class _Known:
    """What runs are made from, beside their places; by job, and by arm."""

    workloads: list[Workload]
    properties: Mapping[str, tuple[Property, ...]] = field(default_factory=dict)
    curves: Mapping[UUID, Curve] = field(default_factory=dict)
    health: Mapping[UUID, Diagnostics] = field(default_factory=dict)
    stopped: Mapping[UUID, dict[str, float]] = field(default_factory=dict)
    url: Urls | None = None


def _run(place: models.Place, known: _Known) -> Run:
    job = place.job
    result = job.result or {}
    stopped = _was_stopped(place)
    metrics = {name: float(value) for name, value in result.items() if isinstance(value, float)}
    metrics = known.stopped.get(job.pk, {}) if stopped else metrics
    state = RunState.SUCCEEDED if stopped else run_state(job.state, job.reason)
    workload = known.workloads[place.workload]
    reason: str | None = job.reason
    if state is RunState.SUCCEEDED:
        reason = place.stopped["sentence"] if stopped and place.stopped else None
        if not np.isfinite(metrics.get(workload.score, np.nan)):  # it ran to its end and has nothing to show
            state, reason = RunState.FAILED, f"no finite {workload.score}"
    return Run(
        arm=place.arm,
        algorithm=job.algorithm,
        workload=workload,
        seed=place.seed,
        state=state,
        metrics=metrics,
        reason=reason,
        curve=known.curves.get(job.pk),
        cost=_cost(result.get("compute_cost")),
        diagnostics=known.health.get(job.pk),
        properties=_tested(known.properties.get(place.arm, ()), result.get("interventions", ())),
        hyperparameters=job.spec["hyperparameters"],
        url=known.url and known.url(job.pk),
    )


def _tested(declared: tuple[Property, ...], tests: Iterable[Mapping[str, Any]]) -> tuple[Property, ...]:
    """The declared properties with what a run's intervention tests said of them."""
    said = {TITLES.get(test["property"], test["property"]): test for test in tests}
    return tuple(
        replace(each, proof=Proof(said[each.name]["verdict"]), evidence=said[each.name]["evidence"])
        if each.name in said
        else each
        for each in declared
    )


def _last_scores(places: Iterable[models.Place]) -> dict[UUID, dict[str, float]]:
    """Of runs that were stopped: what they had reached."""
    stopped = [place.pk for place in places if _was_stopped(place)]
    found: dict[UUID, dict[str, float]] = defaultdict(dict)
    rows = MetricSummary.objects.filter(job__in=stopped, name__in=(SCORE, DECIDING), last__isnull=False)
    for job, name, last in rows.values_list("job_id", "name", "last"):
        assert last is not None  # as the filter says
        found[job][name] = last
    return found


def _cost(measured: Mapping[str, Any] | None) -> Cost | None:
    if measured is None:
        return None
    names = ("training_seconds", "critical_path_seconds", "samples_per_second", "flops_per_sample")
    return Cost(**{name: measured.get(name) for name in (*names, "peak_memory_bytes", "energy_joules")})


# Curves --------------------------------------------------------------------------------------------------------------


def _curves(jobs: Sequence[Job]) -> dict[UUID, Curve]:
    series: dict[UUID, dict[str, int]] = defaultdict(dict)
    rows = MetricSummary.objects.filter(job__in=[job.pk for job in jobs], name__in=(DECIDING, *LOSSES))
    for job, name, number in rows.values_list("job_id", "name", "id"):
        series[job][name] = number
    by_id = {job.pk: job for job in jobs}
    return {
        job: _curve(by_id[job], {name: read_points(number) for name, number in found.items()})
        for job, found in series.items()
        if DECIDING in found
    }


def _curve(job: Job, points: Mapping[str, Mapping[str, NDArray[Any]]]) -> Curve:
    """One row an evaluation; losses stand beside the evaluations that fell on the same step."""
    main = points[DECIDING]
    steps = main["step"]
    losses = {}
    for name in LOSSES:
        if name in points:
            losses[name] = np.full(len(steps), np.nan)
            _, here, there = np.intersect1d(steps, points[name]["step"], assume_unique=True, return_indices=True)
            losses[name][here] = points[name]["value"][there]
    result = job.result or {}
    flops = (result.get("compute_cost") or {}).get("training_flops")
    samples = result.get("samples")
    return Curve(
        epoch=epoch_fractions(steps, main["epoch"]),
        validation_accuracy=main["value"],
        passes=main["passes"].astype(np.float64),
        step=steps.astype(np.float64),
        seconds=main["seconds"],
        flops=main["samples"] * (flops / samples) if flops and samples else None,
        losses=losses,
    )


# Health of the layers ------------------------------------------------------------------------------------------------


HAS_SIGNALS = Func(
    F("layers"),
    template="jsonb_path_exists(%(expressions)s, '$[*].signal_norm ? (@ != null)')",
    output_field=BooleanField(),
)


def _health(jobs: Sequence[Job]) -> dict[UUID, Diagnostics]:
    moments: dict[UUID, dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    every = Diagnostic.objects.filter(job__in=[job.pk for job in jobs]).order_by("job_id", "step")
    for job, number, signals in every.values_list("job_id", "id", HAS_SIGNALS):
        moments[job][signals].append(number)
    # Moments of passes that send no signals (of inverses, say) only where there are no others.
    chosen = [number for found in moments.values() for number in _spread(found[True] or found[False])]
    rows: dict[UUID, list[Diagnostic]] = defaultdict(list)
    for row in Diagnostic.objects.filter(id__in=chosen).order_by("job_id", "step"):
        rows[row.job_id].append(row)
    return {job: found for job, mine in rows.items() if (found := _diagnostics(mine)) is not None}


def _spread(numbers: Sequence[int]) -> list[int]:
    """At most MOST_MOMENTS of them, evenly, first and last among them."""
    if len(numbers) <= MOST_MOMENTS:
        return list(numbers)
    return [numbers[place] for place in np.linspace(0, len(numbers) - 1, MOST_MOMENTS).round().astype(int)]


def _diagnostics(rows: Sequence[Diagnostic]) -> Diagnostics | None:
    """Moments that show the network's own layers; a pass over other ones (inverses, say) is left aside."""
    layers = tuple(str(layer["layer"]) for layer in rows[-1].layers)
    alike = [row for row in rows if tuple(str(layer["layer"]) for layer in row.layers) == layers]
    if not layers:
        return None

    def grid(name: str) -> list[list[Any]]:
        return [[layer.get(name) for layer in row.layers] for row in alike]

    def measured(name: str) -> list[list[Any]] | None:
        found = grid(name)
        return found if any(value is not None for row in found for value in row) else None

    return Diagnostics(
        layers=layers,
        steps=[row.step for row in alike],  # type: ignore[arg-type]  # columns are made of what they get
        signal_norms=grid("signal_norm"),  # type: ignore[arg-type]
        angle_cosines=measured("angle_cosine"),  # type: ignore[arg-type]
        angle_null=measured("angle_null"),  # type: ignore[arg-type]
        dead_shares=measured("dead_share"),  # type: ignore[arg-type]
        saturated_shares=measured("saturated_share"),  # type: ignore[arg-type]
        update_ratios=measured("update_ratio"),  # type: ignore[arg-type]
    )
