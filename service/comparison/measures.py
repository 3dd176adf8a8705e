"""The measures: how one number per run becomes pairs over seeds, with what went wrong counted (rules 5, 8, 9).

A `Measure` knows its margin, its scale and which way is better, all fixed before the data. `collect` gives, for one
arm, the pairs of every problem (a workload, or a whole sweep over depth).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from service.comparison.gradient_health import deepest_trained, signal_fall, sweeps
from service.comparison.protocol import ACCURACY_MARGIN, COST_MARGIN, SIGNAL_MARGIN
from service.comparison.runs import AXES, Cost, Experiment, Run, RunState, Workload
from service.comparison.time_to_target import reaches, restricted_times, target_of

Floats = NDArray[np.float64]


class Scale(StrEnum):
    """How two values are set against each other."""

    POINTS = "points"
    RATIO = "ratio"
    DECADES = "decades"


@dataclass(frozen=True)
class Pairs:
    """Values of candidate and reference on one problem, same seeds, same order; (pairs,) each.

    `cut_pairs` counts pairs where neither side was seen to reach the target: a tie that nobody knows to be one.
    """

    problem: str
    seeds: tuple[int, ...]
    candidate: Floats
    reference: Floats
    missing: tuple[int, ...] = ()
    candidate_wrong: int = 0
    reference_wrong: int = 0
    candidate_runs: int = 0
    reference_runs: int = 0
    wrong_left_out: bool = False
    cut_pairs: int = 0
    notes: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @property
    def all_wrong(self) -> bool:
        """Nothing trained on either side: equal numbers mean nothing."""
        return 0 < self.candidate_runs == self.candidate_wrong and 0 < self.reference_runs == self.reference_wrong

    @property
    def favour_blocked(self) -> bool:
        """Runs that went wrong were left out and the candidate has more of them: it must not profit."""
        share = self.candidate_wrong * max(self.reference_runs, 1) > self.reference_wrong * max(self.candidate_runs, 1)
        return self.wrong_left_out and share


@dataclass(frozen=True)
class Measure:
    """One number per run. `title` names it in a sentence; `margin` is on the test's scale."""

    name: str
    title: str
    scale: Scale
    higher_is_better: bool
    margin: float
    collect: Callable[[Experiment, str], list[Pairs]]

    def differences(self, pairs: Pairs) -> Floats:
        """Oriented: positive is better for the candidate. Ratios on the natural-log scale."""
        if self.scale is Scale.RATIO:
            raw = np.log(pairs.candidate) - np.log(pairs.reference)
        else:
            raw = pairs.candidate - pairs.reference
        return raw if self.higher_is_better else -raw


def scored(run: Run, value: float | None) -> float | None:
    """A run's score; one that went wrong scores chance, a lost one nothing."""
    if run.went_wrong:
        return run.workload.chance
    return None if run.state is RunState.LOST else value


def final_score(run: Run) -> float | None:
    return scored(run, run.metrics.get(run.workload.score))


def area_under_curve(run: Run, until: float) -> float | None:
    """Mean validation accuracy over the epochs up to `until`, by trapezoids, starting from chance at epoch 0.

    A run that went wrong is at chance from its last evaluation on; another keeps its last value.
    """
    if run.state is RunState.LOST:
        return None
    epochs, scores = np.zeros(1), np.full(1, run.workload.chance)
    if run.curve is not None:
        known = np.isfinite(run.curve.validation_accuracy) & (run.curve.epoch > 0) & (run.curve.epoch <= until)
        epochs = np.append(epochs, run.curve.epoch[known])
        scores = np.append(scores, run.curve.validation_accuracy[known])
    if run.went_wrong:
        epochs, scores = np.append(epochs, epochs[-1]), np.append(scores, run.workload.chance)
    elif len(epochs) == 1:
        return None
    if epochs[-1] < until:
        epochs, scores = np.append(epochs, until), np.append(scores, scores[-1])
    return float(np.trapezoid(scores, epochs) / until) if until > 0 else None


def _paired(
    experiment: Experiment, arm: str, workload: Workload, value: Callable[[Run], float | None], wrong_left_out: bool
) -> Pairs:
    """Pair by seed. Seeds that only one side has, or whose value is unknown, are missing."""
    ours = {run.seed: run for run in experiment.runs_of(arm, workload)}
    theirs = {run.seed: run for run in experiment.runs_of(experiment.reference, workload)}
    candidate, reference, seeds, missing = [], [], [], []
    for seed in sorted(ours | theirs):
        a, b = (None if run is None else value(run) for run in (ours.get(seed), theirs.get(seed)))
        if a is None or b is None or not (np.isfinite(a) and np.isfinite(b)):
            missing.append(seed)
            continue
        seeds.append(seed)
        candidate.append(a)
        reference.append(b)
    runs = [*ours.values(), *theirs.values()]
    return Pairs(
        problem=workload.key,
        seeds=tuple(seeds),
        candidate=np.array(candidate, dtype=np.float64),
        reference=np.array(reference, dtype=np.float64),
        missing=tuple(missing),
        candidate_wrong=sum(run.went_wrong for run in ours.values()),
        reference_wrong=sum(run.went_wrong for run in theirs.values()),
        candidate_runs=len(ours),
        reference_runs=len(theirs),
        wrong_left_out=wrong_left_out,
        urls=tuple(run.url for run in runs if run.url),
    )


def _over_workloads(
    value: Callable[[Run], float | None], wrong_left_out: bool
) -> Callable[[Experiment, str], list[Pairs]]:
    def collect(experiment: Experiment, arm: str) -> list[Pairs]:
        return [
            _paired(experiment, arm, workload, value, wrong_left_out)
            for workload in experiment.compared_workloads
            if experiment.runs_of(arm, workload)
        ]

    return collect


def _collect_areas(experiment: Experiment, arm: str) -> list[Pairs]:
    found = []
    for workload in experiment.compared_workloads:
        curves = [
            run.curve for a in (arm, experiment.reference) for run in experiment.runs_of(a, workload) if run.curve
        ]
        ends = [float(np.nanmax(curve.epoch)) for curve in curves if curve.axis("epoch") is not None]
        if ends and experiment.runs_of(arm, workload):
            until = max(ends)
            found.append(_paired(experiment, arm, workload, lambda run, u=until: area_under_curve(run, u), False))  # type: ignore[misc]
    return found


def _collect_times(axis: str) -> Callable[[Experiment, str], list[Pairs]]:
    def collect(experiment: Experiment, arm: str) -> list[Pairs]:
        found = []
        for workload in experiment.compared_workloads:
            if not experiment.runs_of(arm, workload):
                continue
            ours, theirs = (reaches(experiment, a, workload, axis) for a in (arm, experiment.reference))
            shared = sorted(ours.keys() & theirs.keys())
            both = [ours[seed] for seed in shared] + [theirs[seed] for seed in shared]
            cut = restricted_times(both)
            names = [(a, seed) for a in (arm, experiment.reference) for seed in shared]
            by_run = dict(zip(names, cut.times, strict=True))
            pairs = _paired(experiment, arm, workload, lambda run, t=by_run: t.get((run.arm, run.seed)), False)  # type: ignore[misc]
            never = (sum(ours[s].time is None for s in shared), sum(theirs[s].time is None for s in shared))
            ties = int((cut.cut[: len(shared)] & cut.cut[len(shared) :]).sum())
            notes = _time_notes(experiment, workload, axis, cut.horizon, never, len(shared))
            found.append(replace(pairs, notes=notes, cut_pairs=ties))
        return found

    return collect


def _time_notes(
    experiment: Experiment, workload: Workload, axis: str, horizon: float, never: tuple[int, int], pairs: int
) -> tuple[str, ...]:
    target = target_of(experiment, workload)
    if target is None:
        return ("backprop has no validation curve here, so there is no target",)
    notes = [f"target {100 * target:.2f} % of validation accuracy"]
    if any(never):
        notes.append(
            f"never reached by {never[0]} of {pairs} runs (backprop: {never[1]} of {pairs}); "
            f"times are cut at {horizon:.4g} {AXES[axis]}"
        )
    return tuple(notes)


def cost_of(field: str) -> Callable[[Run], float | None]:
    """A field of Cost; positive numbers of succeeded runs only."""

    def value(run: Run) -> float | None:
        amount = getattr(run.cost or Cost(), field) if run.state is RunState.SUCCEEDED else None
        return amount if amount is not None and amount > 0 else None

    return value


def _collect_depths(experiment: Experiment, arm: str) -> list[Pairs]:
    found = []
    for sweep in sweeps(experiment):
        if not any(experiment.runs_of(arm, workload) for workload in sweep.workloads):
            continue
        depths = {a: deepest_trained(experiment, sweep, a) for a in (arm, experiment.reference)}
        shared = sorted(depths[arm].keys() & depths[experiment.reference].keys())
        runs = {a: [r for w in sweep.workloads for r in experiment.runs_of(a, w)] for a in depths}
        found.append(
            Pairs(
                problem=sweep.title,
                seeds=tuple(shared),
                candidate=np.array([depths[arm][s] for s in shared], dtype=np.float64),
                reference=np.array([depths[experiment.reference][s] for s in shared], dtype=np.float64),
                missing=tuple(sorted(depths[arm].keys() ^ depths[experiment.reference].keys())),
                candidate_wrong=sum(r.went_wrong for r in runs[arm]),
                reference_wrong=sum(r.went_wrong for r in runs[experiment.reference]),
                candidate_runs=len(runs[arm]),
                reference_runs=len(runs[experiment.reference]),
                notes=(f"depths {', '.join(map(str, sweep.depths))}; trains from {100 * sweep.threshold:.1f} % on",),
                urls=tuple(r.url for side in runs.values() for r in side if r.url),
            )
        )
    return found


ACCURACY = Measure(
    "accuracy",
    "final accuracy",
    Scale.POINTS,
    True,
    ACCURACY_MARGIN,
    _over_workloads(final_score, wrong_left_out=False),
)
AREA = Measure("area_under_curve", "area under the learning curve", Scale.POINTS, True, ACCURACY_MARGIN, _collect_areas)
TIMES = {
    axis: Measure(
        f"time_to_target_{axis}", f"{title} to the target", Scale.RATIO, False, COST_MARGIN, _collect_times(axis)
    )
    for axis, title in AXES.items()
}
COSTS = {
    name: Measure(name, title, Scale.RATIO, higher, COST_MARGIN, _over_workloads(cost_of(name), wrong_left_out=True))
    for name, title, higher in (
        ("training_seconds", "training time", False),
        ("critical_path_seconds", "critical-path time (layers in parallel)", False),
        ("samples_per_second", "samples per second", True),
        ("flops_per_sample", "FLOPs per sample", False),
        ("peak_memory_bytes", "peak memory", False),
        ("energy_joules", "energy", False),
    )
}
DEPTH = Measure("deepest_trained", "depth that still trains", Scale.RATIO, True, COST_MARGIN, _collect_depths)
SIGNAL = Measure(
    "signal_fall",
    "fall of the teaching signal through the layers",
    Scale.DECADES,
    False,
    SIGNAL_MARGIN,
    _over_workloads(signal_fall, wrong_left_out=True),
)
