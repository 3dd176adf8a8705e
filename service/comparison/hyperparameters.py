"""What an algorithm asks of its user: three numbers (rule 12)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from service.comparison.errors import ComparisonError
from service.comparison.protocol import ACCURACY_MARGIN, BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, CONFIDENCE
from service.comparison.runs import Experiment, Tuning
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Verdict


@dataclass(frozen=True)
class HyperparameterNumbers:
    """`beyond` names what backprop does not have. Spread in points with a bootstrap interval; None without trials."""

    arm: str
    beyond: tuple[str, ...]
    spread: Estimate | None
    trials_needed: int | None
    trials: int
    tuning_seconds: float | None


def hyperparameter_numbers(experiment: Experiment, arm: str) -> HyperparameterNumbers | None:
    """None where the arm has no run and no trial to read the names from. Over workloads: the mean spread, the most
    trials.
    """
    ours, theirs = names_of(experiment, arm), names_of(experiment, experiment.reference)
    if ours is None or theirs is None:
        return None
    tunings = [t for t in experiment.tuning if t.arm == arm and t.scores]
    spreads = [score_spread(t.scores) for t in tunings]
    spread = None
    if spreads:
        ends = [[s.low for s in spreads], [s.high for s in spreads]]
        low, high = (None if None in end else float(np.mean([e for e in end if e is not None])) for end in ends)
        spread = Estimate(float(np.mean([s.value for s in spreads])), low, high)
    seconds = [t.seconds for t in tunings if t.seconds is not None]
    return HyperparameterNumbers(
        arm=arm,
        beyond=tuple(sorted(ours - theirs)),
        spread=spread,
        trials_needed=max((trials_needed(t.scores) for t in tunings), default=None),
        trials=sum(len(t.scores) for t in tunings),
        tuning_seconds=sum(seconds) if seconds else None,
    )


def names_of(experiment: Experiment, arm: str) -> set[str] | None:
    runs, tunings = experiment.runs_of(arm), [t for t in experiment.tuning if t.arm == arm]
    if not runs and not tunings:
        return None
    return {name for run in runs for name in run.hyperparameters} | {n for t in tunings for n in t.hyperparameters}


def score_spread(scores: ArrayLike) -> Estimate:
    """Interquartile range over the trials, in points of 100, with a seeded percentile bootstrap interval."""
    values = _checked(scores)
    if values.size < 2:
        return Estimate(0.0, None, None)
    index = np.random.default_rng(BOOTSTRAP_SEED).integers(0, values.size, (BOOTSTRAP_DRAWS, values.size))
    low, high = np.quantile(stats.iqr(values[index], axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(100 * float(stats.iqr(values)), 100 * float(low), 100 * float(high))


def expected_best(scores: ArrayLike, trials: int) -> float:
    """Expected best of so many of these trials, drawn without replacement: sum of x_(i) C(i-1, k-1) / C(n, k)."""
    ordered = np.sort(_checked(scores))
    if not 1 <= trials <= ordered.size:
        raise ComparisonError("trials", trials, f"1 to {ordered.size}, the trials that were made")
    ranks = np.arange(1, ordered.size + 1)
    return float(ordered @ special.comb(ranks - 1, trials - 1) / special.comb(ordered.size, trials))


def trials_needed(scores: ArrayLike) -> int:
    """The fewest trials whose expected best is within the accuracy margin of the best found; all of them always are."""
    values = _checked(scores)
    # All trials: the best itself, which rounding in the sum must not deny.
    enough = (k for k in range(1, values.size) if values.max() - expected_best(values, k) <= ACCURACY_MARGIN)
    return next(enough, values.size)


def hyperparameter_verdict(ours: HyperparameterNumbers, backprop: HyperparameterNumbers) -> Verdict:
    """Better: none of the three numbers is higher and one is lower. Spreads within the margin count as equal."""
    signs = [np.sign(len(ours.beyond) - len(backprop.beyond))]
    if ours.spread and backprop.spread:
        gap = ours.spread.value - backprop.spread.value
        signs.append(0 if abs(gap) <= 100 * ACCURACY_MARGIN else np.sign(gap))
    if ours.trials_needed is not None and backprop.trials_needed is not None:
        signs.append(np.sign(ours.trials_needed - backprop.trials_needed))
    if all(sign == 0 for sign in signs):
        return Verdict.EQUIVALENT
    if all(sign <= 0 for sign in signs):
        return Verdict.BETTER
    return Verdict.WORSE if all(sign >= 0 for sign in signs) else Verdict.UNDECIDED


def unequal_trials(tuning: tuple[Tuning, ...]) -> str | None:
    """A sentence if algorithms were not tuned with the same number of trials, which rule 12 demands."""
    counts: dict[str, int] = {}
    for item in tuning:
        counts[item.arm] = counts.get(item.arm, 0) + len(item.scores)
    if len(set(counts.values())) < 2:
        return None
    listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
    return f"the numbers of tuning trials differ ({listed}), which the protocol forbids"


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ComparisonError(
            "tuning.scores", np.shape(values), "finite numbers, one a trial; a failed trial at chance"
        )
    return values
