"""The report's tables as plain text cells; each format escapes and lays them out in its own way."""

from dataclasses import dataclass

from service.comparison.across_workloads import Aggregate
from service.comparison.comparisons import Comparison
from service.comparison.measures import Scale
from service.comparison.runs import AXES, Experiment, Proof, Property
from service.comparison.scorecard import MEASURES, Criterion, Scorecard, aggregate_text
from service.comparison.time_to_target import times_to_target
from service.comparison.wording import amount, number, p_value, ratio, signed


@dataclass(frozen=True)
class Table:
    """A caption, one header row, and rows of the same length. `note` stands below."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def all_tables(experiment: Experiment, scorecard: Scorecard) -> list[Table]:
    """In reading order, without empty ones; the scorecard itself first."""
    tables = [
        scorecard_table(scorecard),
        aggregate_table(scorecard),
        *(comparison_table(scorecard, measure.name) for measure in MEASURES),
        *(time_table(experiment, axis) for axis in AXES),
        hyperparameter_table(scorecard),
        plausibility_table(scorecard),
        wrong_table(experiment),
    ]
    return [table for table in tables if table.rows]


def scorecard_table(scorecard: Scorecard) -> Table:
    rows = tuple(
        (arm, *(f"{scorecard.cells[arm][c].verdict}: {scorecard.cells[arm][c].number}" for c in Criterion))
        for arm in scorecard.arms
    )
    return Table("scorecard", f"Scorecard against {scorecard.reference}", ("arm", *Criterion), rows)


def aggregate_table(scorecard: Scorecard) -> Table:
    """Interquartile means; an arm without a scale says why."""
    rows = tuple(
        (arm, aggregate_text(found), str(len(found.workloads)), str(found.seeds), _left_out(found))
        for arm, found in scorecard.aggregates.items()
    )
    return Table(
        "across-workloads",
        "Accuracy over all workloads: interquartile mean on the scale frozen = 0, backprop = 1",
        ("arm", "interquartile mean (95 %)", "workloads", "seeds", "left out"),
        rows if any(found.estimate for found in scorecard.aggregates.values()) else (),
    )


def _left_out(found: Aggregate) -> str:
    return "; ".join(found.left_out)


def comparison_table(scorecard: Scorecard, name: str) -> Table:
    """One measure: every arm on every problem, with all that rule 7 asks for."""
    found = [c for c in scorecard.comparisons[name] if c.judgement.pairs]
    title = found[0].measure.title if found else name
    return Table(
        name,
        f"{title[:1].upper()}{title[1:]} against {scorecard.reference}",
        (
            "problem",
            "arm",
            "verdict",
            f"arm / {scorecard.reference}",
            "difference (95 %)",
            "p",
            "pairs",
            "effect size (95 %)",
            "superiority",
            "notes",
        ),
        tuple(comparison_row(c) for c in found),
    )


def comparison_row(c: Comparison) -> tuple[str, ...]:
    judgement = c.judgement
    effect, wins = judgement.effect, judgement.superiority
    return (
        c.problem,
        c.arm,
        c.verdict.value,
        f"{mean_text(c.candidate_mean, c.measure.scale)} / {mean_text(c.reference_mean, c.measure.scale)}",
        number(c.shown, c.measure.scale),
        p_value(judgement.adjusted_p, judgement.family),
        str(judgement.pairs),
        "none"
        if effect is None
        else f"{signed(effect.value)} ({signed(effect.low or 0)} to {signed(effect.high or 0)})",
        "none" if wins is None else f"{100 * wins.value:.0f} %",
        "; ".join(c.notes),
    )


def mean_text(value: float | None, scale: Scale) -> str:
    """An arm's mean (geometric where ratios are compared) in the measure's own unit."""
    if value is None:
        return "none"
    return f"{100 * value:.2f} %" if scale is Scale.POINTS else ratio(value)


def time_table(experiment: Experiment, axis: str) -> Table:
    rows = tuple(
        (
            t.workload,
            t.arm,
            f"{100 * t.target:.2f} %",
            f"{t.reached} of {t.runs}",
            "not reached by half" if t.median is None else ratio(t.median),
        )
        for t in times_to_target(experiment, axis)
    )
    return Table(
        f"median-time-{axis}",
        f"Median {AXES[axis]} to the target (Kaplan-Meier; runs that never reach it stay)",
        ("workload", "arm", "target", "reached", f"median {AXES[axis]}"),
        rows,
    )


def hyperparameter_table(scorecard: Scorecard) -> Table:
    rows = []
    for arm, n in scorecard.hyperparameters.items():
        spread = "not known"
        if n.spread:
            spread = f"{n.spread.value:.2f} points"
            if n.spread.low is not None and n.spread.high is not None:
                spread += f" ({n.spread.low:.2f} to {n.spread.high:.2f})"
        rows.append(
            (
                arm,
                f"{len(n.beyond)}{': ' if n.beyond else ''}{', '.join(n.beyond)}",
                spread,
                "not known" if n.trials_needed is None else str(n.trials_needed),
                str(n.trials),
                amount(n.tuning_seconds, "s"),
            )
        )
    header = ("arm", f"beyond {scorecard.reference}'s", "spread (95 %)", "trials needed", "trials made", "price")
    return Table("hyperparameters", "Hyperparameters and the price of tuning", header, tuple(rows))


def plausibility_table(scorecard: Scorecard) -> Table:
    names = list(dict.fromkeys(p.name for found in scorecard.plausibility.values() for p in found.properties))
    rows = []
    for arm, found in scorecard.plausibility.items():
        by_name = {p.name: p for p in found.properties}
        rows.append((arm, *(property_text(by_name.get(name)) for name in names)))
    return Table(
        "plausibility",
        "What each arm needs, and how it is known",
        ("arm", *names),
        tuple(rows),
        "Confirmed or refuted: by an intervention test. Declared: no test ran.",
    )


def property_text(item: Property | None) -> str:
    if item is None:
        return "not declared"
    if item.proof is Proof.REFUTED:
        return f"{'no' if item.needed else 'NEEDED'} (declared {'needed' if item.needed else 'absent'}, refuted)"
    return f"{'needed' if item.needed else 'no'} ({'declared' if item.proof is Proof.UNTESTED else 'confirmed'})"


def wrong_table(experiment: Experiment) -> Table:
    """Published, as rule 8 demands."""
    rows = tuple(
        (run.workload.key, run.arm, str(run.seed), run.state.value, run.reason or "no reason given", run.url or "")
        for run in experiment.runs
        if run.state != "succeeded"
    )
    return Table(
        "went-wrong",
        "Runs that failed, diverged or were lost",
        ("workload", "arm", "seed", "how", "reason", "job"),
        rows,
    )
