"""One measure, every arm, every workload: the family that is judged together (rules 3, 4, 6 and 8)."""

from dataclasses import dataclass

import numpy as np

from service.comparison.measures import Measure, Pairs, Scale
from service.comparison.protocol import LEVEL, SEEDS_FOR_SUGGESTION, SEEDS_FOR_VERDICT
from service.comparison.runs import Experiment, Role
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Judgement, Verdict, judge_family


@dataclass(frozen=True, eq=False)
class Comparison:
    """One arm against backprop by one measure on one problem.

    `shown` is for readers: points (of 100) for accuracies, candidate / backprop for ratios, powers of ten for signals;
    there, unlike in `judgement.difference`, the sign is not turned for measures of which less is better.
    """

    arm: str
    role: Role
    measure: Measure
    problem: str
    verdict: Verdict
    judgement: Judgement
    shown: Estimate | None
    candidate_mean: float | None
    reference_mean: float | None
    pairs: Pairs
    notes: tuple[str, ...]


def compare(experiment: Experiment, measure: Measure) -> list[Comparison]:
    """All comparisons of one measure; candidates are one family and controls another."""
    found: list[Comparison] = []
    for role in (Role.CANDIDATE, Role.CONTROL):
        arms = [arm for arm in experiment.arms if experiment.role(arm) is role]
        collected = [(arm, pairs) for arm in arms for pairs in measure.collect(experiment, arm)]
        judged = judge_family([measure.differences(pairs) for _, pairs in collected], measure.margin)
        found += [
            _comparison(arm, role, measure, pairs, judgement)
            for (arm, pairs), judgement in zip(collected, judged, strict=True)
        ]
    return found


def _comparison(arm: str, role: Role, measure: Measure, pairs: Pairs, judgement: Judgement) -> Comparison:
    verdict, reasons = tempered(judgement.verdict, pairs)
    return Comparison(
        arm=arm,
        role=role,
        measure=measure,
        problem=pairs.problem,
        verdict=verdict,
        judgement=judgement,
        shown=_shown(measure, judgement.difference),
        candidate_mean=_mean(measure, pairs.candidate),
        reference_mean=_mean(measure, pairs.reference),
        pairs=pairs,
        notes=(*pairs.notes, *_notes(pairs, judgement), *reasons),
    )


def tempered(verdict: Verdict, pairs: Pairs) -> tuple[Verdict, tuple[str, ...]]:
    """What rules 8 and 9 forbid to conclude from these pairs, and why."""
    favourable = verdict.direction in (Verdict.BETTER, Verdict.EQUIVALENT)
    if pairs.all_wrong and (verdict.is_firm or verdict.is_suggestive):
        return Verdict.UNDECIDED, ("all runs of both arms went wrong, so nothing is decided",)
    if pairs.favour_blocked and favourable:
        return Verdict.UNDECIDED, ("its failed runs have no value here, so no favourable verdict is given",)
    if pairs.cut_pairs and verdict.direction is Verdict.EQUIVALENT:
        return Verdict.UNDECIDED, (f"in {pairs.cut_pairs} pairs neither run was seen to reach the target",)
    return verdict, ()


def _notes(pairs: Pairs, judgement: Judgement) -> tuple[str, ...]:
    notes = []
    for who, wrong, runs in (
        ("its", pairs.candidate_wrong, pairs.candidate_runs),
        ("backprop's", pairs.reference_wrong, pairs.reference_runs),
    ):
        if wrong:
            how = "left out here" if pairs.wrong_left_out else "counted at chance level or never"
            notes.append(f"{wrong} of {who} {runs} runs failed or diverged, {how}")
    if pairs.missing:
        notes.append(f"{len(pairs.missing)} seeds have no pair")
    if judgement.pairs and not judgement.exact:
        notes.append("p from 65,536 seeded random sign patterns")
    if judgement.pairs >= SEEDS_FOR_VERDICT and not judgement.could_pass:
        notes.append(
            f"{judgement.pairs} pairs cannot pass a family of {judgement.family} at {100 * LEVEL:.0f} %: add seeds"
        )
    if SEEDS_FOR_SUGGESTION <= judgement.pairs < SEEDS_FOR_VERDICT:
        notes.append("p not corrected for the family")
    return tuple(notes)


def _shown(measure: Measure, difference: Estimate | None) -> Estimate | None:
    if difference is None:
        return None
    raw = difference if measure.higher_is_better else difference.map(np.negative)
    if measure.scale is Scale.RATIO:
        return raw.map(np.exp)
    if measure.scale is Scale.POINTS:
        factor = 100.0
        ends = [None if end is None else factor * end for end in (raw.low, raw.high)]
        return Estimate(factor * raw.value, ends[0], ends[1])
    return raw


def _mean(measure: Measure, values: np.ndarray) -> float | None:
    """The arithmetic mean, or the geometric one of what is compared as a ratio."""
    if not values.size:
        return None
    return float(np.exp(np.log(values).mean())) if measure.scale is Scale.RATIO else float(values.mean())
