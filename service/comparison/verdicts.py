"""From paired differences to a verdict: the decision of rules 2-6 and nothing else.

The verdict is a value; sentences are rendered from it in wording.py, never the other way round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.comparison.protocol import LEVEL, SEEDS_FOR_SUGGESTION, SEEDS_FOR_VERDICT
from service.comparison.statistics import (
    Estimate,
    SignFlip,
    checked,
    effect_size,
    holm,
    mean_interval,
    sign_flip_test,
    smallest_p,
    superiority,
)


class Verdict(StrEnum):
    BETTER = "better"
    EQUIVALENT = "equivalent"
    WORSE = "worse"
    UNDECIDED = "undecided"
    SUGGESTIVE_BETTER = "suggestive better"
    SUGGESTIVE_EQUIVALENT = "suggestive equivalent"
    SUGGESTIVE_WORSE = "suggestive worse"
    NOT_ENOUGH_SEEDS = "not enough seeds"
    NOT_MEASURED = "not measured"

    @property
    def is_firm(self) -> bool:
        """A verdict, as opposed to a suggestion or a blank."""
        return self in (Verdict.BETTER, Verdict.EQUIVALENT, Verdict.WORSE)

    @property
    def is_suggestive(self) -> bool:
        return self in (Verdict.SUGGESTIVE_BETTER, Verdict.SUGGESTIVE_EQUIVALENT, Verdict.SUGGESTIVE_WORSE)

    @property
    def direction(self) -> "Verdict":
        """Without the word "suggestive"."""
        return Verdict(self.value.removeprefix("suggestive "))

    def suggested(self) -> "Verdict":
        """The weaker form of a firm verdict; others stay as they are."""
        return Verdict(f"suggestive {self.value}") if self.is_firm else self


@dataclass(frozen=True)
class Judgement:
    """All that one comparison says, on the scale of the test; positive is better for the candidate."""

    verdict: Verdict
    pairs: int
    difference: Estimate | None
    p: float | None
    adjusted_p: float | None
    family: int
    exact: bool
    effect: Estimate | None
    superiority: Estimate | None

    @property
    def could_pass(self) -> bool:
        """False where the family is so large that no data with so few pairs could be called better or worse."""
        return self.pairs > 0 and smallest_p(self.pairs) * max(self.family, 1) <= LEVEL


def decide(interval: Estimate, p: float, adjusted_p: float, margin: float, pairs: int) -> Verdict:
    """Rules 2 and 6. `margin` is on the interval's own scale."""
    if pairs < SEEDS_FOR_SUGGESTION or interval.low is None or interval.high is None:
        return Verdict.NOT_ENOUGH_SEEDS
    firm = pairs >= SEEDS_FOR_VERDICT
    passes = (adjusted_p if firm else p) <= LEVEL
    verdict = Verdict.UNDECIDED
    if -margin <= interval.low and interval.high <= margin:
        verdict = Verdict.EQUIVALENT
    elif interval.low > 0 and passes:
        verdict = Verdict.BETTER
    elif interval.high < 0 and passes:
        verdict = Verdict.WORSE
    return verdict if firm else verdict.suggested()


@dataclass(frozen=True)
class _Tested:
    """What the verdict needs; `adjusted_p` is corrected over the `family`."""

    differences: NDArray[np.float64]
    interval: Estimate
    test: SignFlip
    adjusted_p: float
    family: int
    verdict: Verdict


def judge_family(family: Sequence[ArrayLike], margin: float) -> list[Judgement]:
    """Judge the comparisons of one measure together: arrays (pairs,) of oriented differences, one a comparison.

    An empty array (no pair) is not measured and does not count in the family.
    """
    tested = _test_family(family, margin)
    size = sum(item is not None for item in tested)
    return [_describe(item, size) for item in tested]


def family_verdicts(family: Sequence[ArrayLike], margin: float) -> list[Verdict]:
    """The verdicts of `judge_family` alone, without the effects beside them: what a simulation calls by thousands."""
    return [Verdict.NOT_MEASURED if item is None else item.verdict for item in _test_family(family, margin)]


def _test_family(family: Sequence[ArrayLike], margin: float) -> list[_Tested | None]:
    differences = [checked(d) for d in family]
    tests = [sign_flip_test(d) if d.size else None for d in differences]
    adjusted = iter(holm([test.p for test in tests if test]))
    size = sum(test is not None for test in tests)
    found: list[_Tested | None] = []
    for d, test in zip(differences, tests, strict=True):
        if test is None:
            found.append(None)
            continue
        interval, adjusted_p = mean_interval(d), next(adjusted)
        verdict = decide(interval, test.p, adjusted_p, margin, d.size)
        found.append(_Tested(d, interval, test, adjusted_p, size, verdict))
    return found


def _describe(tested: _Tested | None, size: int) -> Judgement:
    if tested is None:
        return Judgement(Verdict.NOT_MEASURED, 0, None, None, None, size, True, None, None)
    return Judgement(
        verdict=tested.verdict,
        pairs=tested.differences.size,
        difference=tested.interval,
        p=tested.test.p,
        adjusted_p=tested.adjusted_p,
        family=tested.family,
        exact=tested.test.exact,
        effect=effect_size(tested.differences),
        superiority=superiority(tested.differences),
    )


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """One cell from several workloads (rule 10). Not measured and too few seeds do not count unless nothing else is
    there.
    """
    given = list(verdicts)
    counted = [v for v in given if v not in (Verdict.NOT_ENOUGH_SEEDS, Verdict.NOT_MEASURED)]
    if not counted:
        return Verdict.NOT_ENOUGH_SEEDS if Verdict.NOT_ENOUGH_SEEDS in given else Verdict.NOT_MEASURED
    directions = {v.direction for v in counted}
    if len(directions) == 1:
        direction = directions.pop()
    elif directions == {Verdict.BETTER, Verdict.EQUIVALENT}:
        direction = Verdict.BETTER
    elif directions == {Verdict.WORSE, Verdict.EQUIVALENT}:
        direction = Verdict.WORSE
    else:
        direction = Verdict.UNDECIDED
    return direction.suggested() if any(v.is_suggestive for v in counted) else direction
