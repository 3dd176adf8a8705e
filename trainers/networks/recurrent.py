"""Recurrent network: one or several cells (tanh, GRU, LSTM) and a read-out, run along a sequence chunk by chunk.

The task decides what is read out: one answer after the last step (many-to-one), or one a step (next symbol, bits).
Symbols are looked up in the input weight: no one-hot vector is ever made.
"""

import math
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import Dropout, Layer, RecurrentNetwork, Shape, Watched
from trainers.networks.dense import DenseLayer
from trainers.networks.initialization import Initialization, initialize, initialize_bias
from trainers.networks.recurrence import RECURRENCES, CellName, State, along
from trainers.spec import StrictModel
from trainers.streams import StreamBook

MANY_TO_ONE, EACH_STEP = ("sequence_classification",), ("next_symbol", "sequence_bits")


class RecurrentOptions(StrictModel):
    """`network` of a spec with kind recurrent."""

    kind: Literal["recurrent"] = "recurrent"
    cell: CellName = Field(default="lstm", description="tanh: a plain recurrent network")
    hidden: int = Field(default=128, ge=1, le=16_384, description="units of a cell")
    layers: int = Field(default=1, ge=1, le=20, description="cells on top of each other")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of what a cell passes up that is set to 0 in training"
    )
    forget_bias: float = Field(
        default=1.0, ge=-100, le=100, description="for lstm: initial bias of the forget gate; at 1 a new cell remembers"
    )
    initialization: Initialization = Field(
        default="uniform", description="of each block of a cell's weights (a gate or the candidate) and of the read-out"
    )


class CellLayer(Layer):
    """A recurrent cell. `weight` is (blocks·H, in), `recurrent_weight` (blocks·H, H), `bias` (blocks·H,).

    Blocks: tanh one; gru r, z, n; lstm o, i, f, g. A chunk goes through `run`; single steps through `affine` and
    `activate`, with the state beside. Its pre-activations are (batch, blocks·H), for gru (batch, 4 H): r, z, and the
    input's and the recurrent part of n.
    """

    def __init__(
        self, name: str, in_shape: Shape, symbols: int | None, options: RecurrentOptions, streams: StreamBook
    ) -> None:
        super().__init__()
        self.name, self.in_shape, self.out_shape = name, in_shape, (options.hidden,)
        # h = s(a) for tanh alone: gates make h of a gru or lstm from more than one step's pre-activations.
        self.activation = ACTIVATIONS["tanh"] if options.cell == "tanh" else None
        self.recurrence, self.symbols = RECURRENCES[options.cell], symbols
        hidden, blocks = options.hidden, self.recurrence.blocks
        fan_in = symbols if symbols is not None else math.prod(in_shape)
        self.weight = nn.Parameter(torch.empty(blocks * hidden, fan_in))
        self.recurrent_weight = nn.Parameter(torch.empty(blocks * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(blocks * hidden))
        generator = streams.once(f"weights/{name}")
        for block in (*self.weight.chunk(blocks), *self.recurrent_weight.chunk(blocks)):
            initialize(block, options.initialization, 1.0, generator)
        initialize_bias(self.bias.data, options.initialization, hidden, generator)
        if options.cell == "lstm":
            self.bias.data.chunk(blocks)[2].add_(options.forget_bias)
        self.dropout = Dropout(options.dropout, streams(f"dropout/{name}")) if options.dropout else None

    def zero_state(self, batch: int) -> State:
        """The state at a sequence's start: h, and c for lstm; (batch, H) each."""
        return (self.bias.new_zeros(batch, *self.out_shape),) * self.recurrence.states

    def project(self, inputs: Tensor) -> Tensor:
        """The input's share of the pre-activations, W i + b: (…, blocks·H) of (…, *in_shape) or (…) symbols."""
        if self.symbols is not None:
            return F.embedding(inputs, self.weight.t()) + self.bias
        if len(self.in_shape) != 1:
            inputs = inputs.reshape(*inputs.shape[: inputs.dim() - len(self.in_shape)], -1)
        return F.linear(inputs, self.weight, self.bias)

    def affine(self, h: Tensor, state: State | None = None) -> Tensor:
        """Pre-activations of one step, (batch, ·), from its input and the state before (None: a sequence's start)."""
        state = self.zero_state(len(h)) if state is None else state
        return self.recurrence.affine(self.project(h), self.recurrent_weight, state[0])

    def activate(self, a: Tensor, state: State | None = None) -> Tensor:
        """Activation of one step, (batch, H), as passed up."""
        return self.passed_up(self.advance(a, state)[0])

    def advance(self, a: Tensor, state: State | None = None) -> State:
        """The state after a step with pre-activations a."""
        return self.recurrence.activate(a, self.zero_state(len(a)) if state is None else state)

    def passed_up(self, h: Tensor) -> Tensor:
        """What the layer above sees of h; the state that is carried on knows no dropout."""
        return h if self.dropout is None else self.dropout(h)

    def run(self, inputs: Tensor, state: State, watched: Watched | None = None) -> tuple[Tensor, State]:
        """Activations (T, batch, H) as passed up, and the state after, for (T, batch, *in_shape) or (T, batch)."""
        seen: list[Tensor] | None = None if watched is None else []
        h, state = along(self.recurrence, self.project(inputs), self.recurrent_weight, state, seen)
        if watched is not None and seen is not None:
            watched[self.name] = seen
        return self.passed_up(h), state


class Recurrent(RecurrentNetwork):
    """cell (or cell1 … cellN) and readout."""

    Options = RecurrentOptions

    def __init__(self, cells: list[CellLayer], readout: DenseLayer, *, each_step: bool) -> None:
        super().__init__([*cells, readout])
        self.cells, self.readout, self.each_step = tuple(cells), readout, each_step

    @property
    def state_shapes(self) -> tuple[Shape, ...]:
        """Of the carried tensors, without the batch dimension: each cell's h, and c for lstm."""
        return tuple(cell.out_shape for cell in self.cells for _ in range(cell.recurrence.states))

    def run(self, chunk: Tensor, state: State | None, watched: Watched | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = tuple(each for cell in self.cells for each in cell.zero_state(len(chunk)))
        h, after = chunk.transpose(0, 1), list[Tensor]()  # time first: a step's rows lie together in memory
        for cell in self.cells:
            own, state = state[: cell.recurrence.states], state[cell.recurrence.states :]
            h, left = cell.run(h, own, watched)
            after.extend(left)
        a = self.readout.affine(h).transpose(0, 1) if self.each_step else self.readout.affine(h[-1])
        if watched is not None:
            watched[self.readout.name] = [a]
        return self.readout.activate(a), tuple(after)

    @staticmethod
    def check(options: RecurrentOptions, task: Task) -> None:
        """Raises SpecError where a recurrent network cannot take the data."""
        if task.kind not in MANY_TO_ONE + EACH_STEP:
            single = task.kind in ("classification", "regression")
            raise SpecError(
                "#/network/kind",
                "A recurrent network takes sequences with one answer at the end, or one a step; this data set is of "
                f"kind {task.kind}."
                + (" Use an mlp or a convnet, or read images as sequences: sequential_mnist." if single else ""),
                got="recurrent",
                allowed=["mlp", "convnet", "resnet"] if single else None,
            )

    @classmethod
    def build(cls, options: RecurrentOptions, task: Task, streams: StreamBook) -> Self:
        """The network for `task`, float32 on the CPU."""
        cells: list[CellLayer] = []
        shape, symbols = task.input_shape, task.symbols
        for number in range(1, options.layers + 1):
            name = "cell" if options.layers == 1 else f"cell{number}"
            cells.append(CellLayer(name, shape, symbols, options, streams))
            shape, symbols = (options.hidden,), None
        readout = DenseLayer("readout", shape, task.outputs, streams, initialization=options.initialization)
        return cls(cells, readout, each_step=task.kind in EACH_STEP)
