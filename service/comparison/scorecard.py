"""The scorecard: five criteria and the accuracy, for every algorithm and control, and one answer (rules 1 and 14)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from service.comparison.across_workloads import Aggregate, aggregate
from service.comparison.comparisons import Comparison, compare
from service.comparison.hyperparameters import (
    HyperparameterNumbers,
    hyperparameter_numbers,
    hyperparameter_verdict,
    unequal_trials,
)
from service.comparison.measures import ACCURACY, AREA, COSTS, DEPTH, SIGNAL, TIMES, Measure, Scale
from service.comparison.plausibility import Plausibility, plausibility_of, plausibility_verdict
from service.comparison.protocol import CONTROLS
from service.comparison.runs import Experiment, Role, RunState
from service.comparison.statistics import Estimate
from service.comparison.verdicts import Verdict, combine
from service.comparison.wording import amount, cell_sentence, number, signed


class Criterion(StrEnum):
    """The accuracy, without which nothing else counts, and the five criteria."""

    ACCURACY = "accuracy"
    GRADIENT_HEALTH = "gradient health"
    COMPUTE_COST = "compute cost"
    CONVERGENCE = "convergence"
    HYPERPARAMETERS = "hyperparameters"
    PLAUSIBILITY = "biological plausibility"


FIVE = tuple(c for c in Criterion if c is not Criterion.ACCURACY)


@dataclass(frozen=True, eq=False)
class Cell:
    """One criterion of one arm. `number` is ready to print, `estimate` the same as data where there is a single one."""

    criterion: Criterion
    arm: str
    role: Role
    verdict: Verdict
    number: str
    estimate: Estimate | None
    scale: Scale | None
    sentence: str
    links: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scorecard:
    """`cells[arm][criterion]`; every table of comparisons by measure name; the answer with what it rests on, and why:
    one clause a candidate."""

    reference: str
    arms: tuple[str, ...]
    missing_controls: tuple[str, ...]
    cells: dict[str, dict[Criterion, Cell]]
    comparisons: dict[str, list[Comparison]]
    aggregates: dict[str, Aggregate]
    hyperparameters: dict[str, HyperparameterNumbers]
    plausibility: dict[str, Plausibility]
    dethroned_by: tuple[str, ...]
    answer: str
    why: tuple[str, ...]
    warnings: tuple[str, ...]


PRIMARY: dict[Criterion, tuple[Measure, ...]] = {
    Criterion.ACCURACY: (ACCURACY,),
    Criterion.GRADIENT_HEALTH: (DEPTH, SIGNAL),
    Criterion.COMPUTE_COST: (COSTS["training_seconds"],),
    Criterion.CONVERGENCE: (TIMES["seconds"], TIMES["step"], TIMES["epoch"]),
}
"""The measure that decides a criterion: the first that was measured at all. Which one is fixed before the data."""

MEASURES: tuple[Measure, ...] = (ACCURACY, AREA, *TIMES.values(), *COSTS.values(), DEPTH, SIGNAL)


def score(experiment: Experiment) -> Scorecard:
    """Everything that the report says in numbers."""
    comparisons = {measure.name: compare(experiment, measure) for measure in MEASURES}
    arms = tuple(arm for arm in experiment.arms if experiment.role(arm) is not Role.REFERENCE)
    numbers = {a: n for a in experiment.arms if (n := hyperparameter_numbers(experiment, a)) is not None}
    plausible = {a: p for a in experiment.arms if (p := plausibility_of(experiment, a)) is not None}
    makers: dict[Criterion, Callable[[str], Cell]] = {
        criterion: lambda arm, c=criterion: _measured_cell(experiment, arm, c, comparisons)  # type: ignore[misc]
        for criterion in PRIMARY
    }
    makers[Criterion.HYPERPARAMETERS] = lambda arm: _hyperparameter_cell(experiment, arm, numbers)
    makers[Criterion.PLAUSIBILITY] = lambda arm: _plausibility_cell(experiment, arm, plausible)
    cells = {arm: {criterion: makers[criterion](arm) for criterion in Criterion} for arm in arms}
    warnings = _warnings(experiment, comparisons[ACCURACY.name])
    credible = not any(w.startswith(BLIND) for w in warnings)
    dethroned_by = tuple(a for a in experiment.candidates if credible and dethrones(cells[a]))
    return Scorecard(
        reference=experiment.reference,
        arms=arms,
        missing_controls=tuple(c for c in experiment.controls if c not in arms),
        cells=cells,
        comparisons=comparisons,
        aggregates={arm: aggregate(experiment, arm) for arm in experiment.arms},
        hyperparameters=numbers,
        plausibility=plausible,
        dethroned_by=dethroned_by,
        answer=_answer(experiment, cells, dethroned_by, credible),
        why=_why(experiment, cells),
        warnings=warnings,
    )


def dethrones(cells: dict[Criterion, Cell]) -> bool:
    """Rule 14."""
    accuracy = cells[Criterion.ACCURACY]
    every_workload = bool(accuracy.comparisons) and all(
        c.verdict in (Verdict.BETTER, Verdict.EQUIVALENT) for c in accuracy.comparisons
    )
    five = [cells[criterion].verdict for criterion in FIVE]
    no_worse = not any(v.direction is Verdict.WORSE for v in five)
    return every_workload and no_worse and Verdict.BETTER in five


def _measured_cell(
    experiment: Experiment, arm: str, criterion: Criterion, comparisons: dict[str, list[Comparison]]
) -> Cell:
    """Decided by the first measure of the criterion that has a pair in any arm of this experiment."""
    options = PRIMARY[criterion]
    measure = next((m for m in options if any(c.judgement.pairs for c in comparisons[m.name])), options[0])
    mine = tuple(c for c in comparisons[measure.name] if c.arm == arm)
    verdict = combine(c.verdict for c in mine)
    short = [c for c in mine if c.verdict in (Verdict.NOT_ENOUGH_SEEDS, Verdict.NOT_MEASURED)]
    shown, notes = "no number", []
    if len(mine) == 1:
        shown, notes = number(mine[0].shown, measure.scale), list(mine[0].notes)
    elif mine:
        best = [c for c in mine if c not in short] or list(mine)
        shown = "; ".join(f"{c.problem}: {number(c.shown, measure.scale)}" for c in best)
        notes += [f"{c.verdict} on {c.problem}" for c in best if c.verdict != verdict]
        if short and len(short) < len(mine):
            notes.append(f"left out for too few seeds: {', '.join(c.problem for c in short)}")
    links = tuple(dict.fromkeys(url for c in mine for url in c.pairs.urls))
    return Cell(
        criterion=criterion,
        arm=arm,
        role=experiment.role(arm),
        verdict=verdict,
        number=shown,
        estimate=mine[0].shown if len(mine) == 1 else None,
        scale=measure.scale,
        sentence=cell_sentence(verdict, arm, experiment.reference, measure.title, tuple(notes)),
        links=links,
        comparisons=mine,
    )


def _hyperparameter_cell(experiment: Experiment, arm: str, numbers: dict[str, HyperparameterNumbers]) -> Cell:
    ours, backprop = numbers.get(arm), numbers.get(experiment.reference)
    verdict = hyperparameter_verdict(ours, backprop) if ours and backprop else Verdict.NOT_MEASURED
    shown, details = "no number", []
    if ours:
        count = len(ours.beyond)
        shown = f"{count} beyond {experiment.reference}'s"
        if ours.beyond:
            details.append(f"beyond {experiment.reference}'s: {', '.join(ours.beyond)}")
        if ours.spread and ours.trials_needed is not None:
            ends = [None if e is None else f"{e:.2f}" for e in (ours.spread.low, ours.spread.high)]
            interval = f" ({ends[0]} to {ends[1]})" if None not in ends else ""
            shown += f"; spread {ours.spread.value:.2f} points{interval}; {ours.trials_needed} trials needed"
            details.append(f"{ours.trials} trials took {amount(ours.tuning_seconds, 's')}")
        else:
            details.append("no tuning trials: spread and trials needed are not known")
    return Cell(
        criterion=Criterion.HYPERPARAMETERS,
        arm=arm,
        role=experiment.role(arm),
        verdict=verdict,
        number=shown,
        estimate=ours.spread if ours else None,
        scale=None,
        sentence=cell_sentence(verdict, arm, experiment.reference, "ease of setting hyperparameters", tuple(details)),
        links=_links(experiment, arm),
        details=tuple(details),
    )


def _plausibility_cell(experiment: Experiment, arm: str, found: dict[str, Plausibility]) -> Cell:
    ours, backprop = found.get(arm), found.get(experiment.reference)
    verdict = plausibility_verdict(ours, backprop) if ours and backprop else Verdict.NOT_MEASURED
    shown, details = "no number", []
    if ours:
        shown = f"needs {len(ours.needs)} of {len(ours.properties)}; {ours.tests_sentence}"
        if ours.confirmed_absent:
            details.append(f"shown by intervention not to need: {', '.join(sorted(ours.confirmed_absent))}")
        if ours.refuted:
            details.append(f"declared absent but found by intervention: {', '.join(sorted(ours.refuted))}")
        only = sorted({p.name for p in ours.properties if not p.counts_as_needed} - ours.confirmed_absent)
        if only:
            details.append(f"only declared not to need: {', '.join(only)}")
        details += ours.findings(backprop.needs if backprop else frozenset())
    return Cell(
        criterion=Criterion.PLAUSIBILITY,
        arm=arm,
        role=experiment.role(arm),
        verdict=verdict,
        number=shown,
        estimate=None,
        scale=None,
        sentence=cell_sentence(verdict, arm, experiment.reference, "biological plausibility", tuple(details)),
        links=_links(experiment, arm),
        details=tuple(details),
    )


def _links(experiment: Experiment, arm: str) -> tuple[str, ...]:
    return tuple(run.url for run in experiment.runs_of(arm) if run.url)


BLIND = "On "
"""Warnings that open so say that a workload cannot tell learning from luck."""


def _warnings(experiment: Experiment, accuracy: list[Comparison]) -> tuple[str, ...]:
    found = [
        f"{BLIND}{c.problem}, frozen hidden layers are not worse than {experiment.reference}: "
        "this workload cannot tell learning from luck."
        for c in accuracy
        if c.arm == "frozen" and c.verdict.direction in (Verdict.BETTER, Verdict.EQUIVALENT)
    ]
    found += [
        f"The control {name} ({CONTROLS.get(name, 'declared by this experiment')}) was not run."
        for name in experiment.controls
        if name not in experiment.arms
    ]
    if experiment.reference not in experiment.arms:
        found.append(f"The reference {experiment.reference} was not run, so nothing can be compared.")
    unequal = unequal_trials(experiment.tuning)
    if unequal:
        found.append(f"{unequal[:1].upper()}{unequal[1:]}.")
    lost = sum(run.state is RunState.LOST for run in experiment.runs)
    if lost:
        found.append(f"{lost} runs were lost through no doing of an algorithm; their pairs are missing.")
    return tuple(found)


def _answer(
    experiment: Experiment, cells: dict[str, dict[Criterion, Cell]], dethroned_by: tuple[str, ...], credible: bool
) -> str:
    """The overall answer, in sentences that say on what it rests."""
    name = experiment.reference
    candidates = [cells[arm] for arm in experiment.candidates]
    if experiment.reference not in experiment.arms or not candidates:
        return f"There is nothing to answer: the experiment needs {name} and at least one other algorithm."
    if dethroned_by:
        wins = [
            f"{arm} (better in {', '.join(c for c in FIVE if cells[arm][c].verdict is Verdict.BETTER)})"
            for arm in dethroned_by
        ]
        head = (
            f"Here {' and '.join(wins)} dethrones {name}: as accurate or more on every workload, and worse in nothing."
        )
    elif not credible:
        head = f"Nothing here can dethrone {name}, because a workload does not tell learning from luck."
    elif not experiment.compared_workloads:
        head = f"Whether anything dethrones {name} is not asked: a sweep over depth measures gradient health alone."
    elif all(
        card[Criterion.ACCURACY].verdict in (Verdict.NOT_ENOUGH_SEEDS, Verdict.NOT_MEASURED) for card in candidates
    ):
        head = f"There are not enough seeds to say whether anything here dethrones {name}."
    else:
        head = f"Nothing here dethrones {name}."
    return f"{head} {_basis(experiment, cells)}"


def _why(experiment: Experiment, cells: dict[str, dict[Criterion, Cell]]) -> tuple[str, ...]:
    """What each candidate has and lacks, in one sentence each."""
    sentences = []
    for arm in experiment.candidates:
        accuracy = cells[arm][Criterion.ACCURACY].verdict
        better = [c.value for c in FIVE if cells[arm][c].verdict is Verdict.BETTER]
        worse = [c.value for c in FIVE if cells[arm][c].verdict.direction is Verdict.WORSE]
        sentence = f"{arm}: accuracy {accuracy}; "
        sentence += f"better in {', '.join(better)}" if better else "better in none of the five criteria"
        sentence += f"; worse in {', '.join(worse)}" if worse else ""
        sentences.append(f"{sentence}.")
    return tuple(sentences)


def _basis(experiment: Experiment, cells: dict[str, dict[Criterion, Cell]]) -> str:
    pairs = [c.judgement.pairs for arm in experiment.candidates for c in cells[arm][Criterion.ACCURACY].comparisons]
    span = f"{min(pairs)}" if pairs and min(pairs) == max(pairs) else f"{min(pairs)} to {max(pairs)}" if pairs else "no"
    wrong = sum(run.went_wrong for run in experiment.runs)
    run_controls = [c for c in experiment.controls if c in experiment.arms]
    plural = "s" if len(run_controls) > 1 else ""
    workloads = len(experiment.workloads)
    return (
        f"This rests on {len(experiment.runs)} runs of {len(experiment.arms)} arms with "
        f"{'tuned' if experiment.tuned else 'default'} hyperparameters on {workloads} "
        f"workload{'s' if workloads != 1 else ''}, {span} pairs a comparison of accuracy, "
        f"{wrong} runs that failed or diverged (all counted), and "
        f"{f'the control{plural} ' + ', '.join(run_controls) if run_controls else 'no control'}."
    )


def aggregate_text(found: Aggregate) -> str:
    """ "0.98 (0.97 to 0.99)", or why there is none."""
    if found.estimate is None:
        return "no scale" if found.left_out else "no runs"
    e = found.estimate
    shown = signed(e.value, 3).lstrip("+")
    if e.low is None or e.high is None:
        return f"{shown} (no interval)"
    return f"{shown} ({signed(e.low, 3).lstrip('+')} to {signed(e.high, 3).lstrip('+')})"
