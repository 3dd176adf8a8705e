"""Where does the teaching signal die, and who still trains there? (rule 11)"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.comparison.protocol import TRAINS_FRACTION
from service.comparison.runs import Experiment, Run, RunState, Workload


@dataclass(frozen=True)
class Sweep:
    """Networks that differ only in depth, on one data set; shallow first. `threshold` is the accuracy that counts as
    trained.
    """

    title: str
    workloads: tuple[Workload, ...]
    threshold: float

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(workload.depth or 0 for workload in self.workloads)


@dataclass(frozen=True)
class LayerHealth:
    """Medians over seeds and time for one arm on one workload; NaN where not measured. Arrays (layers,)."""

    arm: str
    workload: str
    layers: tuple[str, ...]
    signal_norms: NDArray[np.float64]
    angle_cosines: NDArray[np.float64]
    angle_null: NDArray[np.float64]
    dead_shares: NDArray[np.float64]
    saturated_shares: NDArray[np.float64]
    update_ratios: NDArray[np.float64]


def sweeps(experiment: Experiment) -> list[Sweep]:
    """One for each data set that has workloads of at least two depths and backprop at the shallowest."""
    by_dataset: dict[str, list[Workload]] = {}
    for workload in experiment.workloads:
        if workload.depth is not None:
            by_dataset.setdefault(workload.dataset, []).append(workload)
    found = []
    for dataset, workloads in by_dataset.items():
        ordered = sorted(workloads, key=lambda w: w.depth or 0)
        scores = [s for s in map(_score, experiment.runs_of(experiment.reference, ordered[0])) if s is not None]
        if len({w.depth for w in ordered}) < 2 or not scores:
            continue
        chance = ordered[0].chance
        found.append(
            Sweep(
                f"{dataset}, {ordered[0].depth} to {ordered[-1].depth} layers",
                tuple(ordered),
                float(chance + TRAINS_FRACTION * (np.mean(scores) - chance)),
            )
        )
    return found


def deepest_trained(experiment: Experiment, sweep: Sweep, arm: str) -> dict[int, float]:
    """By seed, the largest depth at which it and all shallower ones still train.

    A seed that fails at the shallowest counts as depth 1, since a ratio needs a number above zero. A seed with a lost
    or absent run is left out only if that run could change the answer.
    """
    scores = {w.depth: {run.seed: _score(run) for run in experiment.runs_of(arm, w)} for w in sweep.workloads}
    found: dict[int, float] = {}
    for seed in sorted({seed for column in scores.values() for seed in column}):
        deepest: float | None = 1.0
        for depth in sweep.depths:
            score = scores[depth].get(seed)
            if score is None:
                deepest = None
                break
            if score < sweep.threshold:
                break
            deepest = float(depth)
        if deepest is not None:
            found[seed] = deepest
    return found


def _score(run: Run) -> float | None:
    if run.went_wrong:
        return run.workload.chance
    return None if run.state is RunState.LOST else run.metrics[run.workload.score]


def signal_fall(run: Run) -> float | None:
    """Powers of ten between the signal at the last and at the first hidden layer, as a median over time.

    Its size counts, not its sign: a signal that explodes is as sick as one that vanishes. The last layer of the
    network is the read-out, whose signal is the loss's own, so it is left aside.
    """
    if run.state is not RunState.SUCCEEDED or run.diagnostics is None:
        return None
    norms = run.diagnostics.signal_norms[:, : max(len(run.diagnostics.layers) - 1, 1)]
    if norms.shape[1] < 2 or not norms.size:
        return None
    first, last = norms[:, 0], norms[:, -1]
    known = np.isfinite(first) & np.isfinite(last) & (last > 0)
    if not known.any():
        return None
    # A signal of exactly zero has died: it counts as the smallest normal float32, not as an infinity.
    floor = float(np.finfo(np.float32).tiny)
    return float(
        np.median(np.abs(np.log10(np.maximum(last[known], floor)) - np.log10(np.maximum(first[known], floor))))
    )


def layer_health(experiment: Experiment, arm: str, workload: Workload) -> LayerHealth | None:
    """None where no run of this arm carries diagnostics. Runs with other layers than the first are left aside."""
    carried = [run.diagnostics for run in experiment.runs_of(arm, workload) if run.diagnostics is not None]
    if not carried or not carried[0].layers:
        return None
    layers = carried[0].layers

    def median(name: str) -> NDArray[np.float64]:
        grids = [getattr(d, name) for d in carried if d.layers == layers and getattr(d, name) is not None]
        if not grids:
            return np.full(len(layers), np.nan)
        stacked = np.concatenate(grids)
        columns = [column[np.isfinite(column)] for column in stacked.T]
        return np.array([np.median(column) if column.size else np.nan for column in columns])

    names = ("signal_norms", "angle_cosines", "angle_null", "dead_shares", "saturated_shares", "update_ratios")
    return LayerHealth(arm, workload.key, layers, *(median(name) for name in names))
