"""`python -m trainers intervene ALGORITHM`: the tests on a network of one's choice, as a table or as JSON."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from trainers.device import prepare_process
from trainers.interventions.intervene import intervene_on
from trainers.interventions.results import Report
from trainers.resolve import resolve_parts

SMALL_NETWORK: dict[str, Any] = {"kind": "mlp", "hidden": [24, 20, 16], "activation": "tanh"}
"""Layers of unequal width, so that no shape can be taken for another."""
MARKS = {"confirmed": "green", "refuted": "bold red", "untested": "yellow"}


def show(
    algorithm: str,
    *,
    network: dict[str, Any] | None,
    hyperparameters: dict[str, Any],
    dataset: str | None,
    seed: int,
    as_json: bool,
) -> int:
    """Print the report; 0 if nothing is refuted, else 1. Raises SpecError."""
    network = network or SMALL_NETWORK
    if dataset is None:
        dataset = "sequential_mnist" if network.get("kind") == "recurrent" else "digits"
    training = {"seed": seed, "threads": 1, "device": "cpu"}
    resolved = resolve_parts(
        {
            "algorithm": algorithm,
            "dataset": dataset,
            "network": network,
            "hyperparameters": hyperparameters,
            "training": training,
        }
    )
    prepare_process(resolved.spec.training)
    report = intervene_on(resolved)
    if as_json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        Console().print(table(report))
        print(report.locality.sentence)
    return int(any(result.verdict == "refuted" for result in report.results))


def table(report: Report) -> Table:
    """One row a property."""
    shown = Table("property", "declared", "verdict", "evidence", title=f"{report.algorithm} on {report.network}")
    for result in report.results:
        verdict = f"[{MARKS[result.verdict]}]{result.verdict}[/]"
        shown.add_row(result.property, result.declared, verdict, result.evidence)
    return shown
