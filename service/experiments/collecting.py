"""From rows to the comparison's plain data: each job that has ended becomes a `Run`.

What an arm is compared by was fixed when the experiment was made (workloads with their chance level, declared
properties) and is read from its row; nothing here needs the trainers' registry, and so no torch.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import BooleanField, F, Func
from numpy.typing import NDArray

from service.comparison.runs import (
    Cost,
    Curve,
    Diagnostics,
    Experiment,
    Property,
    Run,
    RunState,
    Workload,
    run_state,
)
from service.experiments import models
from service.jobs.metrics import read_points
from service.jobs.models import Diagnostic, Job, MetricSummary
from service.jobs.presentation import time_text
from service.jobs.states import TERMINAL

SCORE = "test_accuracy"
DECIDING = "validation_accuracy"
LOSSES = ("train_loss", "validation_loss")
MOST_MOMENTS = 20
"""Diagnosed steps kept of a job: medians over time and a curve need no more."""

Floats = NDArray[np.float64]
Urls = Callable[[UUID], str]


def collect(experiment: models.Experiment, job_url: Urls, url: str | None = None) -> Experiment:
    """All runs that have ended, with provenance. `job_url` gives the address of a job's raw data."""
    jobs = list(experiment.jobs.filter(state__in=TERMINAL).defer("progress"))
    workloads = {
        _place(each["dataset"], each["network"]): Workload(each["dataset"], each["label"], each["chance"], SCORE)
        for each in experiment.workloads
    }
    properties = {
        arm: tuple(Property(name, each["needed"], each["reason"]) for name, each in declared.items())
        for arm, declared in experiment.properties.items()
    }
    curves, health = _curves(jobs), _health(jobs)
    runs = tuple(
        _run(
            job,
            workloads[_place(job.dataset, job.spec["network"])],
            curve=curves.get(job.pk),
            diagnostics=health.get(job.pk),
            properties=properties[job.algorithm],
            url=job_url(job.pk),
        )
        for job in _one_a_seed(jobs)
    )
    total = experiment.jobs.count()
    unfinished = "" if len(jobs) == total else f" (so far: {len(jobs)} of {total} jobs have ended)"
    return Experiment(
        name=experiment.name + unfinished,
        runs=runs,
        provenance=_provenance(experiment, jobs, total),
        url=url,
        tuned=False,
    )


def _place(dataset: str, network: Mapping[str, Any]) -> str:
    return json.dumps([dataset, network], sort_keys=True)


def _one_a_seed(jobs: Iterable[Job]) -> list[Job]:
    """The first in each place; one tried again counts only where the first was lost. Runs that went wrong stay."""
    places: dict[tuple[str, str, int], Job] = {}
    for job in jobs:
        place = (job.algorithm, _place(job.dataset, job.spec["network"]), _seed(job))
        if place not in places or run_state(places[place].state, places[place].reason) is RunState.LOST:
            places[place] = job
    return list(places.values())


def _seed(job: Job) -> int:
    return int(job.spec["training"]["seed"])


def _run(
    job: Job,
    workload: Workload,
    *,
    curve: Curve | None,
    diagnostics: Diagnostics | None,
    properties: tuple[Property, ...],
    url: str,
) -> Run:
    result = job.result or {}
    metrics = {name: float(value) for name, value in result.items() if isinstance(value, float)}
    state = run_state(job.state, job.reason)
    reason: str | None = job.reason
    if state is RunState.SUCCEEDED:
        reason = None
        if not np.isfinite(metrics.get(workload.score, np.nan)):  # it ran to its end and has nothing to show
            state, reason = RunState.FAILED, f"no finite {workload.score}"
    return Run(
        arm=job.algorithm,
        algorithm=job.algorithm,
        workload=workload,
        seed=_seed(job),
        state=state,
        metrics=metrics,
        reason=reason,
        curve=curve,
        cost=_cost(result.get("compute_cost")),
        diagnostics=diagnostics,
        properties=properties,
        hyperparameters=job.spec["hyperparameters"],
        url=url,
    )


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
        epoch=_epochs(steps, main["epoch"]),
        validation_accuracy=main["value"],
        passes=main["passes"].astype(np.float64),
        step=steps.astype(np.float64),
        seconds=main["seconds"],
        flops=main["samples"] * (flops / samples) if flops and samples else None,
        losses=losses,
    )


def _epochs(steps: NDArray[Any], finished: NDArray[Any]) -> Floats:
    """Epochs with their fractions: the first point at which k are finished lies at the end of epoch k; an
    evaluation within an epoch lies between two such points, by its step."""
    ends, first = np.unique(finished, return_index=True)
    kept = ends > 0
    found: Floats = np.interp(steps, np.append(0, steps[first[kept]]), np.append(0, ends[kept])).astype(np.float64)
    return found


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


# Provenance ----------------------------------------------------------------------------------------------------------


def _provenance(experiment: models.Experiment, jobs: Sequence[Job], total: int) -> dict[str, Any]:
    """What is needed to judge and to repeat it."""
    results = [job.result for job in jobs if job.result]
    machines = {json.dumps(result["machine"], sort_keys=True) for result in results if "machine" in result}
    datasets = {
        result["dataset"]["name"]: result["dataset"].get("sha256") for result in results if result.get("dataset")
    }
    return {
        "experiment": str(experiment.pk),
        "created_at": time_text(experiment.created_at),
        "jobs": total,
        "jobs_ended": len(jobs),
        "request": experiment.request,
        "datasets_sha256": datasets,
        "machines": [json.loads(machine) for machine in sorted(machines)],
    }
