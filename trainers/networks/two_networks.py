"""Two recurrent networks that tick at different rates (arXiv 1608.05343, section 3.2): A every step, B every T.

    x_t        digit                          A's input at each of its ticks              (batch, pixels)
    a.layer1…  dense layers                   features of a digit                         (batch, features)
    a.cell     recurrent cell                 A's state
    a.readout  after every T of A's ticks     A's answer: odd digits among these T        (batch, T + 1)
    a.message  after every T of A's ticks     what B gets to see of them                  (batch, message)
    b.cell     recurrent cell, a tick a message
    b.readout  at each of B's ticks           B's answer: threes among the last T²        (batch, T² + 1)

To the loop it is one recurrent network with the states of both; outputs of a tick of B are A's answer and B's side by
side. `run_a` and `run_b` are the two apart: all that B ever sees of A is the message.
"""

from typing import Literal, Self

from pydantic import Field
from torch import Tensor, cat, nn

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ActivationName
from trainers.networks.base import Layer, RecurrentNetwork, Shape, Watched, Width
from trainers.networks.dense import DenseLayer
from trainers.networks.initialization import Initialization
from trainers.networks.recurrence import CellName, State
from trainers.networks.recurrent import CellLayer, RecurrentOptions
from trainers.spec import StrictModel
from trainers.streams import StreamBook


class TwoNetworksOptions(StrictModel):
    """`network` of a spec with kind two_networks."""

    kind: Literal["two_networks"] = "two_networks"
    features: list[Width] = Field(
        default=[128], max_length=20, description="widths of the dense layers between a digit and A's cell"
    )
    activation: ActivationName = Field(default="relu", description="of these layers")
    cell: CellName = Field(default="lstm", description="of both networks")
    hidden: int = Field(default=128, ge=1, le=16_384, description="units of each cell")
    message: Width = Field(default=32, description="units of the message that A sends to B")
    message_activation: Literal["tanh", "identity", "relu", "sigmoid"] = "tanh"
    forget_bias: float = Field(
        default=1.0, ge=-100, le=100, description="for lstm: initial bias of the forget gate; at 1 a new cell remembers"
    )
    initialization: Initialization = Field(default="uniform", description="of both networks")

    def activations(self) -> list[str]:
        """One name for each of A's dense layers."""
        return [self.activation] * len(self.features)


class TwoNetworks(RecurrentNetwork):
    """Networks A, at every step, and B, at every T-th, which sees A's messages alone."""

    Options = TwoNetworksOptions

    def __init__(
        self,
        features: list[DenseLayer],
        cells: tuple[CellLayer, CellLayer],
        message: DenseLayer,
        readouts: tuple[DenseLayer, DenseLayer],
        ticks: int,
    ) -> None:
        nn.Module.__init__(self)
        self.features, self.cells, self.readouts, self.ticks = tuple(features), cells, readouts, ticks
        self.senders = (message,)  # in a tuple, or torch would give its weights a second name
        self.layers: tuple[Layer, ...] = (*features, cells[0], readouts[0], message, cells[1], readouts[1])
        self.a, self.b = nn.Module(), nn.Module()
        for layer in self.layers:
            part, _, name = layer.name.partition(".")
            getattr(self, part).add_module(name, layer)
        self.in_shape = features[0].in_shape if features else cells[0].in_shape
        self.out_shape = (sum(readout.out_shape[0] for readout in readouts),)

    @property
    def state_shapes(self) -> tuple[Shape, ...]:
        """Of the carried tensors, without the batch dimension: those of A's cell, then those of B's."""
        return tuple(cell.out_shape for cell in self.cells for _ in range(cell.recurrence.states))

    @property
    def message(self) -> DenseLayer:
        """The layer whose activation is what A sends to B."""
        return self.senders[0]

    def zero_state(self, batch: int) -> State:
        """Of both, at a stream's start."""
        return tuple(each for cell in self.cells for each in cell.zero_state(batch))

    def split_state(self, state: State) -> tuple[State, State]:
        """A's and B's part."""
        own = self.cells[0].recurrence.states
        return state[:own], state[own:]

    def run(self, chunk: Tensor, state: State | None, watched: Watched | None = None) -> tuple[Tensor, State]:
        """Outputs (batch, digits / T, T + 1 + T² + 1) of a chunk (batch, digits, pixels), a multiple of T digits."""
        of_a, of_b = self.split_state(self.zero_state(len(chunk)) if state is None else state)
        odd, message, after_a = self.run_a(chunk, of_a, watched)
        threes, after_b = self.run_b(message, of_b, watched)
        return cat([odd, threes], dim=-1), (*after_a, *after_b)

    def run_a(self, chunk: Tensor, state: State, watched: Watched | None = None) -> tuple[Tensor, Tensor, State]:
        """A's answers and messages, (batch, digits / T, ·), and its state after the chunk."""
        if chunk.shape[1] % self.ticks:
            raise SpecError(
                "#/inputs",
                f"A speaks after every {self.ticks} digits; a stream must be a multiple of that.",
                got=chunk.shape[1],
            )
        h = chunk
        for layer in self.features:
            h = layer.activate(_watched(layer, layer.affine(h), watched))
        along, after = self.cells[0].run(h.transpose(0, 1), state, watched)  # time first
        speaking = along[self.ticks - 1 :: self.ticks].transpose(0, 1)
        odd = _watched(self.readouts[0], self.readouts[0].affine(speaking), watched)
        message = self.message.activate(_watched(self.message, self.message.affine(speaking), watched))
        return odd, message, after

    def run_b(self, message: Tensor, state: State, watched: Watched | None = None) -> tuple[Tensor, State]:
        """B's answers, (batch, ticks of B, T² + 1), to messages (batch, ticks of B, ·), and its state after them."""
        along, after = self.cells[1].run(message.transpose(0, 1), state, watched)
        readout = self.readouts[1]
        return _watched(readout, readout.affine(along.transpose(0, 1)), watched), after

    @staticmethod
    def check(options: TwoNetworksOptions, task: Task) -> None:
        """Raises SpecError for data that ask anything else of a network than two counts."""
        if task.kind != "digit_counting":
            raise SpecError(
                "#/network/kind",
                "A network of kind two_networks counts digits in a stream, for digit_counting; this data set is of "
                f"kind {task.kind}. Use another kind of network.",
                got=options.kind,
                allowed=["mlp", "convnet", "recurrent"],
            )

    @classmethod
    def build(cls, options: TwoNetworksOptions, task: Task, streams: StreamBook) -> Self:
        """The networks for `task`, float32 on the CPU."""
        if task.ticks is None:
            raise AssertionError("a task of two networks says how many ticks of A one of B has")
        features: list[DenseLayer] = []
        shape, initialization = task.input_shape, options.initialization
        for number, width in enumerate(options.features, start=1):
            features.append(
                DenseLayer(
                    f"a.layer{number}",
                    shape,
                    width,
                    streams,
                    activation=options.activation,
                    initialization=initialization,
                )
            )
            shape = (width,)
        of_cell = RecurrentOptions(
            cell=options.cell,
            hidden=options.hidden,
            forget_bias=options.forget_bias,
            initialization=initialization,
        )
        hidden = (options.hidden,)
        message = DenseLayer(
            "a.message",
            hidden,
            options.message,
            streams,
            activation=options.message_activation,
            initialization=initialization,
        )
        cells = (
            CellLayer("a.cell", shape, None, of_cell, streams),
            CellLayer("b.cell", message.out_shape, None, of_cell, streams),
        )
        readouts = (
            DenseLayer("a.readout", hidden, task.heads["odd"], streams, initialization=initialization),
            DenseLayer("b.readout", hidden, task.heads["threes"], streams, initialization=initialization),
        )
        return cls(features, cells, message, readouts, task.ticks)


def _watched(layer: Layer, a: Tensor, watched: Watched | None) -> Tensor:
    if watched is not None:
        watched[layer.name] = [a]
    return a
