"""The report as JSON: every cell and comparison with its numbers, for programs and the panel."""

from typing import Any

from service.comparison.comparisons import Comparison
from service.comparison.experiment_json import plain
from service.comparison.plots import plot_names
from service.comparison.report.text import UNITS
from service.comparison.runs import AXES, Experiment
from service.comparison.scorecard import Cell, Scorecard
from service.comparison.time_to_target import times_to_target
from service.comparison.wording import comparison_sentence

FORMAT = "altprop-report/1"


def report_json(experiment: Experiment, scorecard: Scorecard) -> dict[str, Any]:
    """Plain and finite throughout. The runs themselves are in `experiment_to_json`."""
    return {
        "format": FORMAT,
        "name": experiment.name,
        "url": experiment.url,
        "tuned": experiment.tuned,
        "answer": scorecard.answer,
        "why": list(scorecard.why),
        "warnings": list(scorecard.warnings),
        "dethroned_by": list(scorecard.dethroned_by),
        "reference": scorecard.reference,
        "arms": [{"name": arm, "role": experiment.role(arm).value} for arm in experiment.arms],
        "missing_controls": list(scorecard.missing_controls),
        "scorecard": {arm: {c.value: _cell(cell) for c, cell in row.items()} for arm, row in scorecard.cells.items()},
        "comparisons": {
            name: [comparison_json(c, scorecard.reference) for c in found]
            for name, found in scorecard.comparisons.items()
            if found
        },
        "across_workloads": [plain(found) for found in scorecard.aggregates.values()],
        "times_to_target": {axis: [plain(t) for t in times_to_target(experiment, axis)] for axis in AXES},
        "hyperparameters": [plain(n) for n in scorecard.hyperparameters.values()],
        "plausibility": [plain(p) for p in scorecard.plausibility.values()],
        "plots": list(plot_names(experiment)),
        "provenance": plain(experiment.provenance),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "verdict": cell.verdict.value,
        "number": cell.number,
        "estimate": plain(cell.estimate),
        "sentence": cell.sentence,
        "links": list(cell.links),
        "details": list(cell.details),
    }


def comparison_json(c: Comparison, reference: str) -> dict[str, Any]:
    """One comparison; `shown` is in `unit`, everything in `judgement` on the scale of the test, better upward."""
    return {
        "arm": c.arm,
        "role": c.role.value,
        "problem": c.problem,
        "verdict": c.verdict.value,
        "unit": UNITS[c.measure.scale],
        "shown": plain(c.shown),
        "candidate_mean": plain(c.candidate_mean),
        "reference_mean": plain(c.reference_mean),
        "judgement": plain(c.judgement),
        "seeds": list(c.pairs.seeds),
        "missing_seeds": list(c.pairs.missing),
        "candidate_went_wrong": c.pairs.candidate_wrong,
        "reference_went_wrong": c.pairs.reference_wrong,
        "notes": list(c.notes),
        "sentence": comparison_sentence(c, reference),
    }
