"""A small experiment that was really trained, here and now: what a report is looked at with."""

from collections import defaultdict
from typing import Any

import numpy as np

from service.comparison.runs import Cost, Curve, Diagnostics, Experiment, Property, Run, RunState, Workload
from service.jobs.software import software
from trainers.events import Diagnostics as DiagnosticsEvent
from trainers.events import Event, Metrics
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec
from trainers.training import fit

ARMS = ("backprop", "difference_target_propagation", "synthetic_gradients", "frozen")
NETWORKS = {"mlp 16-16 tanh": [16, 16], "mlp 12x5 tanh": [12] * 5}
SEEDS = 2


def trained_experiment(name: str) -> Experiment:
    """Every arm on two networks; some seconds."""
    runs, specs = [], []
    for label, hidden in NETWORKS.items():
        for arm in ARMS:
            for seed in range(SEEDS):
                spec = {
                    "algorithm": arm,
                    "dataset": "digits",
                    "network": {"kind": "mlp", "hidden": hidden, "activation": "tanh"},
                    "training": {"epochs": 2, "seed": seed, "device": "cpu", "threads": 1, "diagnose_every_steps": 5},
                }
                runs.append(_run(spec, Workload("digits", label, 0.1)))
                specs.append({**spec, "seeds": [seed]})
    provenance = {"software": [software()], "report_software": software(), "specs": specs, "datasets_sha256": {}}
    return Experiment(name, tuple(runs), provenance=provenance, url="http://testserver/api/v1/experiments/x")


def _run(wanted: dict[str, Any], workload: Workload) -> Run:
    said: list[Event] = []
    result = fit(wanted, on_event=said.append).result
    assert result is not None
    parts = resolve_parts(TrainingSpec(**wanted))
    questions = parts.algorithm.properties(parts.hyperparameters, parts.network_options).questions()
    cost = result["compute_cost"]
    return Run(
        arm=wanted["algorithm"],
        algorithm=wanted["algorithm"],
        workload=workload,
        seed=wanted["training"]["seed"],
        state=RunState.SUCCEEDED,
        metrics={name: value for name, value in result.items() if isinstance(value, float)},
        curve=_curve(said, cost["training_flops"] / result["samples"]),
        cost=Cost(**{key: cost.get(key) for key in Cost.__dataclass_fields__}),
        diagnostics=_diagnostics(said),
        properties=tuple(Property(name, answer.answer != "no", answer.reason) for name, answer in questions.items()),
        hyperparameters=parts.spec.hyperparameters,
        url=f"http://testserver/api/v1/jobs/{wanted['algorithm']}-{wanted['training']['seed']}",
    )


def _curve(said: list[Event], flops_a_sample: float) -> Curve:
    points = [event for event in said if isinstance(event, Metrics) and "validation_accuracy" in event.values]
    columns: dict[str, Any] = defaultdict(list)
    for point in points:
        for name in ("epoch", "passes", "step", "seconds"):
            columns[name].append(getattr(point, name))
        columns["validation_accuracy"].append(point.values["validation_accuracy"])
    return Curve(**columns, flops=np.array([point.samples * flops_a_sample for point in points]))


def _diagnostics(said: list[Event]) -> Diagnostics:
    """Of the passes that send signals; the others look at other layers."""
    moments = [
        event
        for event in said
        if isinstance(event, DiagnosticsEvent) and any(each.get("signal_norm") is not None for each in event.layers)
    ]
    layers = tuple(str(each["layer"]) for each in moments[-1].layers)
    alike = [moment for moment in moments if tuple(str(each["layer"]) for each in moment.layers) == layers]
    names = {"signal_norms": "signal_norm", "angle_cosines": "angle_cosine", "angle_null": "angle_null"}
    grids = {grid: [[each.get(key) for each in moment.layers] for moment in alike] for grid, key in names.items()}
    return Diagnostics(layers, np.array([moment.step for moment in alike], dtype=np.float64), **grids)  # type: ignore[arg-type]
