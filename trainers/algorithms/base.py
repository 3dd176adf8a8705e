"""The contract between the loop and a learning algorithm: one loop drives all, one file implements one paper.

A run is a list of passes over the data, known beforehand; the loop hands every step its batch and its moment, so
that no algorithm has to store where it stands. Everything that an algorithm does store is in `state_dict()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel
from torch import Tensor

from trainers.networks.base import Network
from trainers.objective import Objective
from trainers.streams import StreamBook


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, on the device. The buffers may be reused by the next one: copy what must outlive the step."""

    inputs: Tensor
    targets: Tensor
    indices: Tensor | None = None
    starts: bool = True
    """False: a sequence goes on from the batch before, and carried state is kept."""


@dataclass(slots=True)
class Moment:
    """Where the run stands, in host numbers."""

    epoch: int
    """From 0."""
    phase: str
    """One of `algorithm.phases(epoch, epochs)`."""
    step: int
    """Within this pass; 0 opens a pass."""
    steps: int
    """Of this pass."""
    progress: float
    """Of the whole run, 0 to 1: schedules read this or `epoch`."""
    diagnose: bool = False
    """Fill in `StepReport.signals` and `.directions` this time; the update must be the same either way."""


@dataclass(slots=True)
class StepReport:
    """What a step tells. Tensors stay on the device."""

    measures: dict[str, tuple[Tensor, int]]
    """Additive: name → (sum, count), e.g. "loss" and "correct" over the samples of the batch."""
    signals: Mapping[str, Tensor] | None = None
    """If `moment.diagnose`: layer → its teaching signal, (batch, *shape), of the batch-mean loss."""
    directions: Mapping[str, Tensor] | None = None
    """If `moment.diagnose`: weight → descent direction before the optimizer; else diagnostics use the change."""
    details: Mapping[str, Mapping[str, Tensor]] | None = None
    """If `moment.diagnose`: quantity → layer → scalar, the algorithm's own, e.g. reconstruction errors."""


Answer = Literal["yes", "no", "partly"]


@dataclass(frozen=True, slots=True)
class Property:
    """A declared property and its reason; the comparison proves it by intervention where a test exists."""

    answer: Answer
    reason: str


@dataclass(frozen=True, slots=True)
class Properties:
    """What an algorithm needs, locking in Jaderberg et al.'s words (arXiv 1608.05343), and what it can train."""

    weight_transport: Property
    """Does an error travel back through the transposed forward weights?"""
    global_error_signal: Property
    """Does the error at the output reach every layer?"""
    forward_locking: Property
    """Must a layer wait for those below to have run?"""
    backward_locking: Property
    """Must a layer wait for those above to have run backwards before it updates?"""
    update_locking: Property
    """Must a layer wait for all those above to have run forwards before it updates?"""
    needs_derivative: Property
    """Of the nonlinearities."""
    symmetric_feedback: Property
    """Must feedback weights equal the forward weights' transpose?"""
    layer_parallel: Property
    """Can layers be updated at the same time, each by a process of its own?"""
    extra_state: str
    """Kept between steps beyond weights and optimizer."""
    trains: frozenset[str] = field(default_factory=frozenset)
    """Network kinds, and "non_differentiable" where step and sign units are trained."""

    def questions(self) -> dict[str, Property]:
        """The declared properties by name, in order."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Property)}


class Algorithm(Protocol):
    """One learning algorithm. Instances are made without arguments, then `setup` is called once."""

    Hyperparameters: ClassVar[type[BaseModel]]
    """Flat pydantic model; None means "filled by `complete`". Extra schema keys: x-symbol, x-source."""

    network: Network

    @staticmethod
    def complete(hyperparameters: Any, network: Any, training: Any) -> Any:
        """Hyperparameters with every None filled from the variant's defaults. Raises SpecError (pointers below
        #/hyperparameters or #/network) for a combination that it cannot train, naming what it needs."""
        ...

    @staticmethod
    def properties(hyperparameters: Any, network: Any) -> Properties:
        """Static: full unlock or parallel order change them."""
        ...

    def setup(self, network: Network, objective: Objective, hyperparameters: Any, streams: StreamBook) -> None: ...

    def phases(self, epoch: int, epochs: int) -> tuple[str, ...]:
        """The passes over the data of this epoch. Pure."""
        ...

    def step(self, batch: Batch, moment: Moment) -> StepReport:
        """One update."""
        ...

    def predict(self, inputs: Tensor) -> Any:
        """Network outputs for a batch; None while there is nothing to score. Pure: touches no statistics and no
        saved generator. Runs under `torch.no_grad()`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All state, as nested dicts of tensors and JSON scalars."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


# Optional parts that the loop and the diagnostics look for by name:
#
#   artefacts(batch, folder) -> list[Artefact]   pictures made at the end from a batch of the validation split
#   cures: Mapping[str, str]                     what to change, by the code of a finding, where the usual cure is not
#                                                the best for this algorithm
#   carried: tuple[Tensor, ...]                  a recurrent network's state between chunks, so that the angle to
#                                                backprop is measured from it
#   as_seen(batch) -> Batch                      the batch with the noise that the coming step will add, so that the
#                                                angle to backprop is measured on the same inputs; moves no generator
