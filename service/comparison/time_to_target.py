"""How long until a target that backprop alone has set; runs that never reach it stay (rules 8 and 9)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.duration.survfunc import SurvfuncRight

from service.comparison.protocol import TARGET_FRACTION
from service.comparison.runs import Experiment, Run, RunState, Workload


@dataclass(frozen=True)
class Reach:
    """When one run reached the target; `time` is None if it never did. It was watched until `watched`; inf: it went
    wrong and never will.
    """

    seed: int
    time: float | None
    watched: float


@dataclass(frozen=True)
class TimeToTarget:
    """One arm on one workload. The median is Kaplan-Meier's, None if fewer than half ever reach the target."""

    arm: str
    workload: str
    axis: str
    target: float
    reached: int
    runs: int
    median: float | None


def target_of(experiment: Experiment, workload: Workload) -> float | None:
    """The validation accuracy to reach; None where backprop has no curve to set it by."""
    if workload.key in experiment.targets:
        return float(experiment.targets[workload.key])
    finals = [
        last_accuracy(run)
        for run in experiment.runs_of(experiment.reference, workload)
        if run.state is RunState.SUCCEEDED
    ]
    known = [final for final in finals if final is not None]
    if not known:
        return None
    return float(workload.chance + TARGET_FRACTION * (np.median(known) - workload.chance))


def last_accuracy(run: Run) -> float | None:
    """The last validation accuracy that was measured."""
    if run.curve is None:
        return None
    known = run.curve.validation_accuracy[np.isfinite(run.curve.validation_accuracy)]
    return float(known[-1]) if known.size else None


def reach(run: Run, axis: str, target: float) -> Reach | None:
    """None for a lost run and for one whose curve lacks this axis; a run that went wrong never reached it."""
    if run.state is RunState.LOST:
        return None
    column = run.curve.axis(axis) if run.curve is not None else None
    if run.went_wrong:
        return Reach(run.seed, None, np.inf)
    if run.curve is None or column is None:
        return None
    known = np.isfinite(column) & np.isfinite(run.curve.validation_accuracy)
    times, scores = column[known], run.curve.validation_accuracy[known]
    if not times.size:
        return None
    hits = times[scores >= target]
    if not hits.size:
        return Reach(run.seed, None, float(times.max()))
    # A target already met before training has no time to take a logarithm of: it counts as met at the first evaluation.
    positive = times[times > 0]
    first = max(float(hits[0]), float(positive.min()) if positive.size else 0.0)
    return Reach(run.seed, first, max(first, float(times.max()))) if first > 0 else None


def reaches(experiment: Experiment, arm: str, workload: Workload, axis: str) -> dict[int, Reach]:
    """By seed; seeds of which nothing is known are absent."""
    target = target_of(experiment, workload)
    if target is None:
        return {}
    found = [reach(run, axis, target) for run in experiment.runs_of(arm, workload)]
    return {r.seed: r for r in found if r is not None}


@dataclass(frozen=True)
class Restricted:
    """Times cut at `horizon`, in the order given; `cut` marks those that were not seen to reach the target by then."""

    times: NDArray[np.float64]
    cut: NDArray[np.bool_]
    horizon: float


def restricted_times(reached: list[Reach]) -> Restricted:
    """Times cut at the largest horizon up to which every one of these runs is fully observed.

    A run that reached the target is known for good, and so is one that went wrong; another that did not is known only
    as long as it was watched. NaN where nobody was watched.
    """
    open_ends = [r.watched for r in reached if r.time is None and np.isfinite(r.watched)]
    watched = [r.watched for r in reached if np.isfinite(r.watched)]
    if not watched:
        return Restricted(np.full(len(reached), np.nan), np.ones(len(reached), dtype=np.bool_), np.nan)
    horizon = min(open_ends) if open_ends else max(watched)
    times = np.array([horizon if r.time is None else min(r.time, horizon) for r in reached])
    cut = np.array([r.time is None or r.time > horizon for r in reached], dtype=np.bool_)
    return Restricted(times, cut, float(horizon))


def kaplan_meier_median(reached: list[Reach]) -> float | None:
    """The time by which half of the runs have reached the target, or None where that is not seen."""
    if not reached or all(r.time is None for r in reached):
        return None
    # A run that went wrong stays at risk past everybody else's end.
    after_all = 2 * max(r.watched for r in reached if np.isfinite(r.watched)) + 1
    times = [r.time if r.time is not None else min(r.watched, after_all) for r in reached]
    median = float(SurvfuncRight(np.array(times), np.array([int(r.time is not None) for r in reached])).quantile(0.5))
    return median if np.isfinite(median) else None


def times_to_target(experiment: Experiment, axis: str) -> list[TimeToTarget]:
    """One row for each workload and arm that has runs there, reached or not."""
    rows = []
    for workload in experiment.compared_workloads:
        target = target_of(experiment, workload)
        if target is None:
            continue
        for arm in experiment.arms:
            found = list(reaches(experiment, arm, workload, axis).values())
            if found:
                done = sum(r.time is not None for r in found)
                rows.append(TimeToTarget(arm, workload.key, axis, target, done, len(found), kaplan_meier_median(found)))
    return rows
