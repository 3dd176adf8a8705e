"""What an experiment would be, before it is queued: its jobs by phase, its arms, and the expected cost of each cell.

The first MOST_COUNTED distinct specs are estimated as a job's dry run does it (estimate.py); more would take a request
too long, and are left open, as are the sums that they would be in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field, JsonValue

from service.api.estimate import estimate
from service.experiments.planning import Cell, Plan, plan

MOST_COUNTED = 40


class CellShown(BaseModel):
    """An arm on a workload."""

    arm: str
    algorithm: str
    dataset: str
    label: str = Field(description="the network's short name")
    hyperparameters: dict[str, JsonValue] = Field(description="every default filled in")
    seeds: list[int]
    seconds: float | None = Field(description="of training one job: the median of such jobs on this service")
    flops: float | None = Field(description="of training one job, counted")


class JobsShown(BaseModel):
    """How many jobs, by phase."""

    tuning: int
    main: int = Field(description="with what is tuned as well, once the search has found it")
    extra_seeds: int = Field(description="at most, by the adaptive rule")


class TotalShown(BaseModel):
    """Sums over tuning and main; null where one of the parts is not known."""

    seconds: float | None
    flops: float | None


class ExperimentDryRun(BaseModel):
    """What an experiment would be. Nothing is queued."""

    request: dict[str, JsonValue] = Field(description="as posted, defaults filled in")
    arms: list[str]
    jobs: JobsShown
    cells: list[CellShown]
    search_spaces: dict[str, dict[str, JsonValue]] | None = Field(description="that would be searched; null: none")
    estimate: TotalShown


def dry_run(data: Mapping[str, Any]) -> dict[str, Any]:
    """As `ExperimentDryRun`. Raises SpecError that names every wrong field."""
    planned = plan(data)
    cells = _cells(planned)
    return {
        "request": planned.request.whole(),
        "arms": list(planned.arms),
        "jobs": _jobs(planned),
        "cells": cells,
        "search_spaces": _spaces(planned),
        "estimate": {
            "seconds": _total(planned, cells, "seconds"),
            "flops": _total(planned, cells, "flops"),
        },
    }


def _cells(planned: Plan) -> list[dict[str, Any]]:
    return [
        {
            "arm": cell.arm,
            "algorithm": cell.spec.algorithm,
            "dataset": cell.spec.dataset,
            "label": planned.workloads[cell.workload]["label"],
            "hyperparameters": cell.spec.hyperparameters,
            "seeds": cell.seeds,
            **_cost(cell, place),
        }
        for place, cell in enumerate(planned.cells)
    ]


def _cost(cell: Cell, place: int) -> dict[str, float | None]:
    if place >= MOST_COUNTED:
        return {"seconds": None, "flops": None}
    found = estimate(cell.spec)
    return {"seconds": found.seconds, "flops": found.training_flops}


def _jobs(planned: Plan) -> dict[str, int]:
    tuning = len(planned.trials) * len(planned.request.tune.seed_list()) if planned.request.tune else 0
    return {
        "tuning": tuning,
        "main": planned.jobs - tuning,
        "extra_seeds": planned.most_jobs - planned.jobs,
    }


def _spaces(planned: Plan) -> dict[str, Any] | None:
    if planned.request.tune is None:
        return None
    from service.experiments.trials import space_of

    return {
        arm: {name: found.model_dump(exclude_defaults=True) for name, found in space_of(planned.request, arm).items()}
        for arm in planned.arms
    }


def _total(planned: Plan, cells: Iterable[Mapping[str, Any]], part: str) -> float | None:
    """A trial costs about what a run with the defaults does."""
    tune = planned.request.tune
    trials = 0 if tune is None else tune.trials * len(tune.seed_list())
    tables = 1 if tune is None else 2
    total = 0.0
    for cell in cells:
        if cell[part] is None:
            return None
        total += cell[part] * (tables * len(cell["seeds"]) + trials)
    return total
