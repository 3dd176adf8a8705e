"""Tables of sentences: a verdict value in, words out. Nothing is decided here.

A test holds that every verdict has its sentence and that no two read alike.
"""

import math
from typing import Final

from service.comparison.comparisons import Comparison
from service.comparison.measures import Scale
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Verdict

MINUS: Final = "\u2212"

COMPARISON: Final[dict[Verdict, str]] = {
    Verdict.BETTER: "On {problem}, {arm} is better than {reference} in {measure}: {number}, {pairs} pairs, {p}.",
    Verdict.EQUIVALENT: "On {problem}, {arm} and {reference} are equivalent in {measure}: {number}, "
    "within the margin of {margin}, {pairs} pairs.",
    Verdict.WORSE: "On {problem}, {arm} is worse than {reference} in {measure}: {number}, {pairs} pairs, {p}.",
    Verdict.UNDECIDED: "On {problem}, {measure} of {arm} against {reference} is undecided: {number}, "
    "{pairs} pairs, {p}.",
    Verdict.SUGGESTIVE_BETTER: "On {problem}, {pairs} pairs suggest that {arm} is better than {reference} in "
    "{measure} ({number}); this is no verdict yet.",
    Verdict.SUGGESTIVE_EQUIVALENT: "On {problem}, {pairs} pairs suggest that {arm} and {reference} are equivalent in "
    "{measure} ({number}); this is no verdict yet.",
    Verdict.SUGGESTIVE_WORSE: "On {problem}, {pairs} pairs suggest that {arm} is worse than {reference} in "
    "{measure} ({number}); this is no verdict yet.",
    Verdict.NOT_ENOUGH_SEEDS: "On {problem}, {pairs} pairs are not enough to compare {measure} of {arm} with "
    "{reference} ({number}).",
    Verdict.NOT_MEASURED: "On {problem}, {measure} of {arm} cannot be compared: no pair of runs has it.",
}

CELL: Final[dict[Verdict, str]] = {
    Verdict.BETTER: "{arm} is better than {reference} in {subject}.",
    Verdict.EQUIVALENT: "{arm} and {reference} are equivalent in {subject}.",
    Verdict.WORSE: "{arm} is worse than {reference} in {subject}.",
    Verdict.UNDECIDED: "It is undecided whether {arm} or {reference} is better in {subject}.",
    Verdict.SUGGESTIVE_BETTER: "{arm} may be better than {reference} in {subject}; more seeds would tell.",
    Verdict.SUGGESTIVE_EQUIVALENT: "{arm} and {reference} may be equivalent in {subject}; more seeds would tell.",
    Verdict.SUGGESTIVE_WORSE: "{arm} may be worse than {reference} in {subject}; more seeds would tell.",
    Verdict.NOT_ENOUGH_SEEDS: "There are not enough seeds to compare {arm} with {reference} in {subject}.",
    Verdict.NOT_MEASURED: "{subject} of {arm} was not measured.",
}


def comparison_sentence(comparison: Comparison, reference: str) -> str:
    """One comparison in a sentence, with its notes."""
    judgement = comparison.judgement
    sentence = COMPARISON[comparison.verdict].format(
        problem=comparison.problem,
        arm=comparison.arm,
        reference=reference,
        measure=comparison.measure.title,
        number=number(comparison.shown, comparison.measure.scale),
        margin=margin(comparison.measure.margin, comparison.measure.scale),
        pairs=judgement.pairs,
        p=p_value(judgement.adjusted_p, judgement.family),
    )
    return with_notes(sentence, comparison.notes)


def cell_sentence(verdict: Verdict, arm: str, reference: str, subject: str, notes: tuple[str, ...] = ()) -> str:
    sentence = CELL[verdict].format(arm=arm, reference=reference, subject=subject)
    return with_notes(sentence[:1].upper() + sentence[1:] if sentence.startswith(subject) else sentence, notes)


def with_notes(sentence: str, notes: tuple[str, ...]) -> str:
    """Notes follow as sentences of their own."""
    return " ".join([sentence, *(f"{note[:1].upper()}{note[1:]}." for note in notes)])


def number(estimate: Estimate | None, scale: Scale) -> str:
    """ "+0.31 points (−0.02 to +0.64)", "1.42 times (1.38 to 1.47)"."""
    if estimate is None:
        return "no number"
    if scale is Scale.RATIO:
        shown, ends = (
            f"{ratio(estimate.value)} times",
            [ratio(e) for e in (estimate.low, estimate.high) if e is not None],
        )
    elif scale is Scale.POINTS:
        shown = f"{signed(estimate.value)} points"
        ends = [signed(end) for end in (estimate.low, estimate.high) if end is not None]
    else:
        shown = f"{signed(estimate.value)} powers of ten"
        ends = [signed(end) for end in (estimate.low, estimate.high) if end is not None]
    return f"{shown} ({ends[0]} to {ends[1]})" if len(ends) == 2 else f"{shown} (no interval)"


def margin(value: float, scale: Scale) -> str:
    if scale is Scale.RATIO:
        return f"{100 * math.expm1(value):.0f} %"
    if scale is Scale.POINTS:
        return f"{100 * value:.1f} points"
    return f"a factor of {10**value:.0f}"


def signed(value: float, digits: int = 2) -> str:
    """With its sign, a true minus, and no "−0.00"."""
    rounded = round(value, digits)
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{'+' if rounded > 0 else MINUS}{abs(rounded):.{digits}f}"


def ratio(value: float) -> str:
    """Three significant digits, never in powers of ten between 0.001 and a million."""
    if not math.isfinite(value):
        return "unbounded"
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def p_value(p: float | None, family: int) -> str:
    if p is None:
        return "no p"
    shown = "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"
    return f"{shown} after Holm over {family}" if family > 1 else shown


def amount(value: float | None, unit: str = "") -> str:
    """A plain quantity with a unit that fits its size."""
    if value is None or not math.isfinite(value):
        return "not known"
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and unit not in ("s", ""):
            return f"{ratio(value / size)} {prefix}{unit}"
    return f"{ratio(value)} {unit}".strip()
