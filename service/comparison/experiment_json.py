"""An `Experiment` as JSON and back: the file that a bundle carries and that repeats a report exactly.

NaN and infinity are not JSON; they become null, and null in an array is NaN again.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from service.comparison.errors import ComparisonError
from service.comparison.runs import (
    GRIDS,
    Cost,
    Curve,
    Diagnostics,
    Experiment,
    Proof,
    Property,
    Run,
    RunState,
    Tuning,
    Workload,
)

FORMAT = "altprop-experiment/1"
Word = TypeVar("Word", RunState, Proof)


def experiment_to_json(experiment: Experiment) -> dict[str, Any]:
    """Plain lists, dicts, strings and finite numbers: ready for `json.dumps(..., allow_nan=False)`."""
    return {
        "format": FORMAT,
        "name": experiment.name,
        "url": experiment.url,
        "tuned": experiment.tuned,
        "reference": experiment.reference,
        "controls": list(experiment.controls),
        "targets": plain(experiment.targets),
        "provenance": plain(experiment.provenance),
        "tuning": [plain(_shallow(tuning)) for tuning in experiment.tuning],
        "runs": [plain(_shallow(run)) for run in experiment.runs],
    }


def experiment_from_json(data: Mapping[str, Any]) -> Experiment:
    """The inverse. Raises ComparisonError with the field's name for what it cannot read."""
    if data.get("format") != FORMAT:
        raise ComparisonError("format", data.get("format"), FORMAT)
    try:
        return Experiment(
            name=data["name"],
            url=data.get("url"),
            tuned=bool(data.get("tuned", False)),
            reference=data["reference"],
            controls=tuple(data["controls"]),
            targets=dict(data["targets"]),
            provenance=dict(data["provenance"]),
            tuning=tuple(_tuning(item) for item in data["tuning"]),
            runs=tuple(_run(item) for item in data["runs"]),
        )
    except KeyError as missing:
        raise ComparisonError(str(missing.args[0]), None, "a value: the key is missing") from missing
    except TypeError as error:
        raise ComparisonError("experiment", str(error), "the keys that experiment_to_json writes") from error


def plain(value: Any) -> Any:
    """Arrays to lists, dataclasses to dicts, enums to strings, what is not finite to null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "__dataclass_fields__"):
        return plain(_shallow(value))
    raise ComparisonError("value", value, "numbers, strings, lists, dicts, arrays and the comparison's own dataclasses")


def _shallow(instance: Any) -> dict[str, Any]:
    return {f.name: getattr(instance, f.name) for f in fields(instance)}


def _tuning(item: Mapping[str, Any]) -> Tuning:
    return Tuning(**{**item, "scores": tuple(item["scores"]), "hyperparameters": tuple(item["hyperparameters"])})


def _run(item: Mapping[str, Any]) -> Run:
    curve, cost, diagnostics = item.get("curve"), item.get("cost"), item.get("diagnostics")
    return Run(
        **{
            **item,
            "workload": Workload(**item["workload"]),
            "state": _one_of(RunState, item["state"], "state"),
            # A null metric is one that was not finite.
            "metrics": {name: np.nan if score is None else score for name, score in item["metrics"].items()},
            "curve": None if curve is None else Curve(**curve),
            "cost": None if cost is None else Cost(**cost),
            "diagnostics": None if diagnostics is None else _diagnostics(diagnostics),
            "properties": tuple(
                Property(**{**p, "proof": _one_of(Proof, p["proof"], "properties.proof")}) for p in item["properties"]
            ),
        }
    )


def _diagnostics(item: Mapping[str, Any]) -> Diagnostics:
    return Diagnostics(**{**item, **{name: item.get(name) for name in GRIDS}})


def _one_of(kind: type[Word], value: Any, name: str) -> Word:
    try:
        return kind(value)
    except ValueError as error:
        raise ComparisonError(name, value, ", ".join(kind)) from error
