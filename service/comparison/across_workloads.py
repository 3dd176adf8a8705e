"""One number and one picture over all workloads: interquartile mean and performance profiles (rule 10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from service.comparison.errors import ComparisonError
from service.comparison.measures import final_score
from service.comparison.protocol import ACCURACY_MARGIN, BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, CONFIDENCE, TRIM
from service.comparison.runs import Experiment, Workload
from service.comparison.statistics import Estimate, mean_interval
from service.comparison.time_to_target import reaches

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Aggregate:
    """An arm's interquartile mean on the scale frozen = 0, backprop = 1, and what could not be put on that scale."""

    arm: str
    estimate: Estimate | None
    workloads: tuple[str, ...]
    seeds: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Profile:
    """Share of problems that an arm solves within `factors` times the fastest arm's time; (factors,)."""

    arm: str
    factors: Floats
    share: Floats
    problems: int


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half."""
    return float(stats.trim_mean(np.asarray(values, dtype=np.float64), TRIM))


def stratified_interquartile_mean(
    strata: Sequence[tuple[Floats, Floats, Floats]], draws: int = BOOTSTRAP_DRAWS, seed: int = BOOTSTRAP_SEED
) -> Estimate:
    """Interquartile mean of normalised scores with a percentile interval, seeds drawn with their pairs in each
    workload.

    `strata` holds, per workload, scores of the arm, of `frozen` and of backprop, (seeds,) each and paired. Strata of
    one seed give no interval.
    """
    if not strata:
        raise ComparisonError("strata", [], "at least one workload")
    rng = np.random.default_rng(seed)
    drawn = []
    for arm, frozen, backprop in strata:
        index = rng.integers(0, len(arm), (draws, len(arm)))
        drawn.append(normalised(arm[index], frozen[index], backprop[index]))
    value = interquartile_mean(np.concatenate([normalised(*stratum) for stratum in strata]))
    if any(len(arm) < 2 for arm, _, _ in strata):
        return Estimate(value, None, None)
    means = stats.trim_mean(np.concatenate(drawn, axis=1), TRIM, axis=1)
    low, high = np.nanquantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def normalised(arm: Floats, frozen: Floats, backprop: Floats) -> Floats:
    """Scores on the scale frozen = 0, backprop = 1: 1 + (arm - backprop) / (mean backprop - mean frozen), last axis.

    The difference is paired, so backprop is 1 on every seed; the length is a mean, so one bad seed cannot make it zero.
    NaN where it has no length.
    """
    length = backprop.mean(axis=-1, keepdims=True) - frozen.mean(axis=-1, keepdims=True)
    return 1 + np.divide(arm - backprop, length, out=np.full(arm.shape, np.nan), where=length > 0)


def aggregate(experiment: Experiment, arm: str, frozen: str = "frozen") -> Aggregate:
    """The arm's interquartile mean over every workload that has a scale."""
    strata: list[tuple[Floats, Floats, Floats]] = []
    used: list[str] = []
    left_out: list[str] = []
    for workload in experiment.compared_workloads:
        if not experiment.runs_of(arm, workload):
            continue
        columns = [_scores(experiment, name, workload) for name in (arm, frozen, experiment.reference)]
        seeds = sorted(set.intersection(*(set(column) for column in columns)))
        values = [np.array([column[s] for s in seeds], dtype=np.float64) for column in columns]
        reason = _without_scale(values[1], values[2], frozen)
        if reason:
            left_out.append(f"{workload.key}: {reason}")
        else:
            used.append(workload.key)
            strata.append((values[0], values[1], values[2]))
    estimate = stratified_interquartile_mean(strata) if strata else None
    return Aggregate(arm, estimate, tuple(used), sum(len(s[0]) for s in strata), tuple(left_out))


def _scores(experiment: Experiment, arm: str, workload: Workload) -> dict[int, float]:
    scores = {run.seed: final_score(run) for run in experiment.runs_of(arm, workload)}
    return {seed: score for seed, score in scores.items() if score is not None}


def _without_scale(frozen: Floats, backprop: Floats, name: str) -> str | None:
    """Why there is no scale here, or None. Backprop must be above frozen by the margin, and clearly where seeds
    allow.
    """
    if not frozen.size:
        return f"no seed has {name}, backprop and this arm"
    gap = mean_interval(backprop - frozen)
    if gap.value <= ACCURACY_MARGIN or (gap.low is not None and gap.low <= 0):
        return f"backprop is not clearly above {name}"
    return None


def performance_profiles(experiment: Experiment, axis: str, largest_factor: float = 32.0) -> list[Profile]:
    """Profiles of time to target over (workload, seed) problems. Runs that never reach the target stay in the count.

    A problem counts for all arms that ran it; one that no arm solved counts against each. Arms are compared on the
    problems that every arm has, else an arm that skipped the hard ones would look fast.
    """
    times: dict[str, dict[tuple[str, int], float]] = {arm: {} for arm in experiment.arms}
    for workload in experiment.compared_workloads:
        for arm in experiment.arms:
            for seed, found in reaches(experiment, arm, workload, axis).items():
                times[arm][(workload.key, seed)] = np.inf if found.time is None else found.time
    arms = [arm for arm in experiment.arms if times[arm]]
    if not arms:
        return []
    shared = sorted(set.intersection(*(set(times[arm]) for arm in arms)))
    if not shared:
        return []
    factors = np.unique(np.append(np.geomspace(1.0, largest_factor, 161), 1.0))
    return [
        Profile(arm, factors, share, len(shared))
        for arm, share in profile_shares({a: np.array([times[a][p] for p in shared]) for a in arms}, factors).items()
    ]


def profile_shares(times: Mapping[str, Floats], factors: Floats) -> dict[str, Floats]:
    """Dolan and Moré's profile: by arm, the share of problems within each factor of the fastest; inf: never solved."""
    fastest = np.min(np.stack(list(times.values())), axis=0)
    shares = {}
    for arm, column in times.items():
        # inf / inf would be NaN: a problem that nobody solved is within no factor of anything.
        ratios = np.divide(column, fastest, out=np.full(column.shape, np.inf), where=np.isfinite(column))
        shares[arm] = (ratios[None, :] <= factors[:, None] * (1 + 1e-12)).mean(axis=1)
    return shares
