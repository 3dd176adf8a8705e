"""Any jobs next to each other: where their specs differ, their final figures, and their curves on common axes.

Unlike an experiment this makes no claim: jobs may differ in anything, so there is no verdict, and what cannot be
compared is said.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.comparison.axes import epoch_fractions
from service.comparison.spec_differences import spec_differences
from service.jobs.metrics import lower_is_better, read_points, sampled
from service.jobs.models import Job, MetricSummary
from service.jobs.states import State

if TYPE_CHECKING:
    from service.comparison.plots.jobs import JobCurve

LEAST_JOBS, MOST_JOBS = 2, 50

MOST_POINTS = 60_000
"""Of all curves together: an answer stays within some megabytes however many jobs there are."""

LEAST_POINTS = 20

COSTS: dict[str, tuple[str, str | None]] = {
    "training_seconds": ("s", "lower"),
    "samples_per_second": ("1/s", "higher"),
    "flops_per_sample": ("FLOPs", "lower"),
    "training_flops": ("FLOPs", "lower"),
    "peak_memory_bytes": ("B", "lower"),
    "energy_joules": ("J", "lower"),
}
"""Measured costs of a finished run: unit, and which way is better."""

SIZES = ("parameters", "epochs", "passes", "steps", "samples")


def side_by_side(jobs: Sequence[Job], *, names: Sequence[str] = (), points: int = 200) -> dict[str, Any]:
    """Plain data, ready for JSON, but for the jobs' addresses. `names`: only these curves; `points`: of each at most.

    The jobs need their summaries prefetched, and their ids are text here: keys of `values` everywhere.
    """
    return {
        "jobs": [_shown(job, label) for job, label in zip(jobs, labels(jobs), strict=True)],
        "differences": [
            {"pointer": each.pointer, "values": each.values}
            for each in spec_differences({str(job.pk): job.spec for job in jobs})
        ],
        "figures": list(_figures(jobs)),
        "curves": _curves(jobs, names, points),
        "notes": list(_notes(jobs)),
    }


def curve_names(jobs: Iterable[Job]) -> list[str]:
    """Of all jobs, in the order in which they began."""
    return list(dict.fromkeys(summary.name for job in jobs for summary in job.summaries.all()))


def curves_against(jobs: Sequence[Job], name: str, axis: str) -> "list[JobCurve]":
    """Lines of a figure: `name` of every job that has it and knows its `axis` (epoch, step, seconds or flops)."""
    from service.comparison.plots.jobs import JobCurve  # matplotlib, which only who draws shall load

    shown = dict(zip((str(job.pk) for job in jobs), labels(jobs), strict=True))
    return [
        JobCurve(shown[each["job"]], np.array(each[axis], dtype=np.float64), np.array(each["value"], dtype=np.float64))
        for curve in (_curves(jobs, [name], 1_000) if name else [])
        for each in curve["series"]
        if each[axis] is not None
    ]


def labels(jobs: Sequence[Job]) -> list[str]:
    """A short name a job, all different."""
    plain = [f"{job}" for job in jobs]
    seeded = [
        f"{name}, seed {job.spec['training']['seed']}" if plain.count(name) > 1 else name
        for name, job in zip(plain, jobs, strict=True)
    ]
    return [
        f"{name} …{str(job.pk)[-6:]}" if seeded.count(name) > 1 else name
        for name, job in zip(seeded, jobs, strict=True)
    ]


def _shown(job: Job, label: str) -> dict[str, Any]:
    return {
        "id": str(job.pk),
        "label": label,
        "state": job.state,
        "sentence": job.sentence,
        "algorithm": job.algorithm,
        "dataset": job.dataset,
        "seed": job.spec["training"]["seed"],
        "has_ended": job.is_terminal,
        "experiment": str(job.experiment) if job.experiment else None,
    }


# Figures -------------------------------------------------------------------------------------------------------------


def _figures(jobs: Sequence[Job]) -> Iterable[dict[str, Any]]:
    """One a curve (its last value), then costs and sizes; those that no job has are left out."""
    one_task = len({job.dataset for job in jobs}) == 1
    for name in curve_names(jobs):
        better = ("lower" if lower_is_better(name) else "higher") if one_task else None
        yield _figure(name, None, better, {job.pk: _last(job, name) for job in jobs})
    for name, (unit, better) in COSTS.items():
        found = {job.pk: _number(((job.result or {}).get("compute_cost") or {}).get(name)) for job in jobs}
        if any(value is not None for value in found.values()):
            yield _figure(name, unit, better if one_task else None, found)
    for name in SIZES:
        found = {job.pk: _number((job.result or {}).get(name)) for job in jobs}
        if any(value is not None for value in found.values()):
            yield _figure(name, None, None, found)


def _figure(name: str, unit: str | None, better: str | None, found: Mapping[UUID, float | None]) -> dict[str, Any]:
    known = {job: value for job, value in found.items() if value is not None}
    best: list[str] = []
    if better is not None and len(set(known.values())) > 1:
        edge = (min if better == "lower" else max)(known.values())
        best = [str(job) for job, value in known.items() if value == edge]
    values = {str(job): value for job, value in found.items()}
    return {"name": name, "unit": unit, "better": better, "values": values, "best": best}


def _last(job: Job, name: str) -> float | None:
    return next((summary.last for summary in job.summaries.all() if summary.name == name), None)


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


# Curves --------------------------------------------------------------------------------------------------------------


def _curves(jobs: Sequence[Job], names: Sequence[str], points: int) -> list[dict[str, Any]]:
    by_name: dict[str, list[tuple[Job, MetricSummary]]] = defaultdict(list)
    for name in curve_names(jobs):
        for job in jobs:
            by_name[name] += [(job, summary) for summary in job.summaries.all() if summary.name == name]
    chosen = {name: found for name, found in by_name.items() if not names or name in names}
    many = sum(len(found) for found in chosen.values())
    each = max(LEAST_POINTS, min(points, MOST_POINTS // max(many, 1)))
    return [
        {"name": name, "series": [_series(job, summary, each) for job, summary in found]}
        for name, found in chosen.items()
    ]


def _series(job: Job, summary: MetricSummary, most: int) -> dict[str, Any]:
    """Columns of equal length. FLOPs are known once the run has ended: only its result says what a sample cost."""
    whole = read_points(summary.pk)
    epochs = epoch_fractions(whole["step"], whole["epoch"])
    columns = sampled({**whole, "epoch": epochs}, most)
    result = job.result or {}
    cost, samples = (result.get("compute_cost") or {}).get("training_flops"), result.get("samples")
    return {
        "job": str(job.pk),
        "count": summary.count,
        "epoch": columns["epoch"].tolist(),
        "step": columns["step"].tolist(),
        "seconds": columns["seconds"].tolist(),
        "flops": (columns["samples"] * (cost / samples)).tolist() if cost and samples else None,
        "value": _finite(columns["value"]),
    }


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


# What has to be said -------------------------------------------------------------------------------------------------


def _notes(jobs: Sequence[Job]) -> Iterable[str]:
    datasets = list(dict.fromkeys(job.dataset for job in jobs))
    if len(datasets) > 1:
        yield (
            f"The jobs train on different data ({', '.join(datasets)}): their scores are not on one scale, so no best "
            "one is marked."
        )
    measured = {job.pk: {summary.name for summary in job.summaries.all()} for job in jobs}
    with_any = [names for names in measured.values() if names]
    if with_any and not set.intersection(*with_any):
        yield "The jobs have no curve in common: they were trained on different tasks."
    for job, label in zip(jobs, labels(jobs), strict=True):
        if not job.is_terminal and measured[job.pk]:
            yield f"{label} is {job.state}: its figures are those of its last evaluation so far."
        elif not job.is_terminal:
            yield f"{label} is {job.state} and has measured nothing yet."
        elif job.state != State.SUCCEEDED:
            yield f"{label} has {job.state}: {job.sentence}"
