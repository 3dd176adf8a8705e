"""What the comparison knows of a finished job: plain, frozen data that goes to JSON and back.

A `Run` is one job reduced to numbers; an `Experiment` is all of them with their provenance. Nothing here computes: the
statistics, the scorecard and the plots read these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.comparison.errors import ComparisonError
from service.comparison.protocol import CONTROLS, REFERENCE

Floats = NDArray[np.float64]

AXES: dict[str, str] = {"epoch": "epochs", "passes": "passes", "step": "steps", "seconds": "seconds", "flops": "FLOPs"}
"""What a curve can be drawn against, and its name on an axis."""


class RunState(StrEnum):
    """How a run ended, as the protocol sees it (rule 8)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DIVERGED = "diverged"
    LOST = "lost"


LOST_REASONS = frozenset({"worker_lost", "pending_too_long", "dataset_unavailable", "cancelled", "requested"})
"""Reasons of jobs that say nothing about the algorithm. A trainer killed by a signal three times is the algorithm's own
affair: memory, most often."""


def run_state(job_state: str, reason: str | None) -> RunState:
    """A finished job's state and reason in the protocol's words."""
    if job_state == "succeeded":
        return RunState.SUCCEEDED
    if job_state == "cancelled" or reason in LOST_REASONS:
        return RunState.LOST
    if job_state == "failed":
        return RunState.DIVERGED if reason == "diverged" else RunState.FAILED
    raise ComparisonError("state", job_state, "succeeded, failed or cancelled (the job must have ended)")


class Role(StrEnum):
    REFERENCE = "reference"
    CANDIDATE = "candidate"
    CONTROL = "control"


@dataclass(frozen=True)
class Workload:
    """One data set with one network. `chance` is the score of guessing; `depth` counts hidden layers in a depth
    sweep.
    """

    dataset: str
    network: str
    chance: float
    score: str = "test_accuracy"
    depth: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.chance, (int, float)) and 0 <= self.chance < 1):
            raise ComparisonError(
                "workload.chance", self.chance, "a number from 0 to below 1, such as 0.1 for ten classes"
            )

    @property
    def key(self) -> str:
        return f"{self.dataset} / {self.network}"


@dataclass(frozen=True, eq=False)
class Curve:
    """Columns of equal length, one row an evaluation. `validation_accuracy` and the axes are NaN where not measured."""

    epoch: Floats
    validation_accuracy: Floats
    passes: Floats | None = None
    step: Floats | None = None
    seconds: Floats | None = None
    flops: Floats | None = None
    losses: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epoch", "validation_accuracy", "passes", "step", "seconds", "flops"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, _column(column, f"curve.{name}", self.length_of(name)))
        object.__setattr__(
            self, "losses", {k: _column(v, f"curve.losses.{k}", len(self.epoch)) for k, v in self.losses.items()}
        )

    def length_of(self, name: str) -> int | None:
        return None if name == "epoch" else len(self.epoch)

    def axis(self, name: str) -> Floats | None:
        """The column of that name, or None where it was not measured."""
        if name not in AXES:
            raise ComparisonError("axis", name, ", ".join(AXES))
        column: Floats | None = getattr(self, name)
        return None if column is None or not np.isfinite(column).any() else column


@dataclass(frozen=True)
class Cost:
    """What a run took. None where the device does not report it."""

    training_seconds: float | None = None
    critical_path_seconds: float | None = None
    samples_per_second: float | None = None
    flops_per_sample: float | None = None
    peak_memory_bytes: float | None = None
    energy_joules: float | None = None


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Health per layer over time: arrays (moments, layers), NaN where blank. Layers run from input to output."""

    layers: tuple[str, ...]
    steps: Floats
    signal_norms: Floats
    angle_cosines: Floats | None = None
    angle_null: Floats | None = None
    dead_shares: Floats | None = None
    saturated_shares: Floats | None = None
    update_ratios: Floats | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "steps", _column(self.steps, "diagnostics.steps", None))
        shape = (len(self.steps), len(self.layers))
        for name in GRIDS:
            grid = getattr(self, name)
            if grid is None:
                continue
            values = np.array(_without_none(grid), dtype=np.float64).reshape(
                shape if np.size(grid) == 0 else np.shape(grid)
            )
            if values.shape != shape:
                raise ComparisonError(f"diagnostics.{name}", values.shape, f"{shape}: (moments, layers)")
            values.flags.writeable = False
            object.__setattr__(self, name, values)


GRIDS = ("signal_norms", "angle_cosines", "angle_null", "dead_shares", "saturated_shares", "update_ratios")


class Proof(StrEnum):
    """What an intervention test said of a declared property."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNTESTED = "untested"


@dataclass(frozen=True)
class Property:
    """One thing that an algorithm needs or does without (weight transport, backward locking, ...)."""

    name: str
    needed: bool
    reason: str = ""
    proof: Proof = Proof.UNTESTED
    evidence: str = ""

    @property
    def counts_as_needed(self) -> bool:
        """A need that a test found counts whatever was declared (rule 13)."""
        return self.needed or self.proof is Proof.REFUTED


@dataclass(frozen=True, eq=False)
class Run:
    """One finished job. `arm` is the label that the tables show; `metrics` are final and as fractions, not percent."""

    arm: str
    algorithm: str
    workload: Workload
    seed: int
    state: RunState
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    curve: Curve | None = None
    cost: Cost | None = None
    diagnostics: Diagnostics | None = None
    properties: tuple[Property, ...] = ()
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", RunState(self.state))
        object.__setattr__(self, "properties", tuple(self.properties))
        if self.state is RunState.SUCCEEDED:
            score = self.metrics.get(self.workload.score)
            if score is None or not np.isfinite(score):
                raise ComparisonError(
                    f"metrics.{self.workload.score}", score, f"a finite number: {self.arm}, seed {self.seed} succeeded"
                )

    @property
    def went_wrong(self) -> bool:
        """Failed or diverged by its own doing; such a run stays in the tables (rule 8)."""
        return self.state in (RunState.FAILED, RunState.DIVERGED)


@dataclass(frozen=True)
class Tuning:
    """The trials of one algorithm's declared search space; scores on validation data, a failed trial at chance."""

    arm: str
    workload: str
    scores: tuple[float, ...]
    hyperparameters: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Experiment:
    """All runs of one comparison. `targets` names, per workload key, a target fixed beforehand (rule 9); `tuned` says
    whether the hyperparameters were searched for or are the defaults (rule 15).
    """

    name: str
    runs: tuple[Run, ...]
    reference: str = REFERENCE
    controls: tuple[str, ...] = tuple(CONTROLS)
    targets: Mapping[str, float] = field(default_factory=dict)
    tuning: tuple[Tuning, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    tuned: bool = False

    def __post_init__(self) -> None:
        for name in ("runs", "controls", "tuning"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        seen: set[tuple[str, str, int]] = set()
        chances: dict[str, Workload] = {}
        for run in self.runs:
            place = (run.arm, run.workload.key, run.seed)
            if place in seen:
                raise ComparisonError("runs", place, "one run per arm, workload and seed")
            seen.add(place)
            if chances.setdefault(run.workload.key, run.workload) != run.workload:
                raise ComparisonError(
                    "runs.workload", run.workload, f"one description of {run.workload.key!r} in all runs"
                )

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], tuple[Run, ...]]:
        places: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            places.setdefault((run.arm, run.workload.key), []).append(run)
        return {place: tuple(sorted(runs, key=lambda run: run.seed)) for place, runs in places.items()}

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Reference first, then candidates, then controls; each in order of appearance."""
        order = {Role.REFERENCE: 0, Role.CANDIDATE: 1, Role.CONTROL: 2}
        return tuple(sorted(dict.fromkeys(run.arm for run in self.runs), key=lambda arm: order[self.role(arm)]))

    @property
    def candidates(self) -> tuple[str, ...]:
        return tuple(arm for arm in self.arms if self.role(arm) is Role.CANDIDATE)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        return tuple(dict.fromkeys(run.workload for run in self.runs))

    @property
    def compared_workloads(self) -> tuple[Workload, ...]:
        """Those outside depth sweeps: a sweep is judged as a whole, by gradient health alone (rule 11)."""
        return tuple(workload for workload in self.workloads if workload.depth is None)

    def role(self, arm: str) -> Role:
        if arm == self.reference:
            return Role.REFERENCE
        return Role.CONTROL if arm in self.controls else Role.CANDIDATE

    def runs_of(self, arm: str, workload: Workload | None = None) -> tuple[Run, ...]:
        """Workloads as they appeared, in each by seed."""
        if workload is not None:
            return self._by_place.get((arm, workload.key), ())
        return tuple(run for place, runs in self._by_place.items() if place[0] == arm for run in runs)


def _without_none(values: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(values, (list, tuple)):
        return [_without_none(v) for v in values]
    return np.nan if values is None else values


def _column(values: Any, name: str, length: int | None) -> Floats:
    try:
        column = np.array(_without_none(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ComparisonError(name, values, "a list of numbers") from error
    if column.ndim != 1 or (length is not None and len(column) != length):
        raise ComparisonError(
            name, column.shape, f"one dimension{'' if length is None else f' of {length}, as epoch has'}"
        )
    column.flags.writeable = False
    return column
