"""Dense residual network: a multi-layer perceptron as deep as one likes through which signals still pass.

    layer1          h = s(W x + b)
    a block         h = x + W₂ s(W₁ x + b₁) + b₂          one layer with two weights; nothing on the skip
    last layer      W h + b

The sum passes up untouched (He et al. 2016, arXiv 1603.05027), so a teaching signal reaches layer 1 whatever s is: the
cure for what a plain mlp of the same depth shows. Depth, counted in weight matrices, is 2 · blocks + 2.
"""

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.networks.activations import ACTIVATIONS, ActivationName
from trainers.networks.base import BatchNorm, Layer, Network, Width
from trainers.networks.dense import DenseLayer, check_single_samples
from trainers.networks.initialization import Initialization, initialize, initialize_bias
from trainers.spec import StrictModel
from trainers.streams import StreamBook


class ResidualMLPOptions(StrictModel):
    """`network` of a spec with kind residual_mlp."""

    kind: Literal["residual_mlp"] = "residual_mlp"
    width: Width = Field(default=256, description="units of every hidden layer")
    blocks: int = Field(default=9, ge=1, le=500, description="of two weight matrices each")
    activation: ActivationName = "relu"
    batch_norm: bool = Field(default=False, description="between W₁ and the nonlinearity of each block")
    initialization: Initialization = "kaiming"

    def activations(self) -> list[str]:
        """One name for each hidden layer."""
        return [self.activation] * (self.blocks + 1)


class ResidualDense(Layer):
    """a = x + W₂ s(norm(W₁ x + b₁)) + b₂; h = a. Weights: `first`, `second`, both (width, width)."""

    def __init__(self, name: str, options: ResidualMLPOptions, streams: StreamBook) -> None:
        super().__init__()
        width = options.width
        self.name, self.in_shape, self.out_shape = name, (width,), (width,)
        self.activation, self.inner = ACTIVATIONS["identity"], ACTIVATIONS[options.activation]
        generator = streams.once(f"weights/{name}")
        self.first, self.second = (nn.Parameter(torch.empty(width, width)) for _ in range(2))
        self.first_bias, self.second_bias = (nn.Parameter(torch.empty(width)) for _ in range(2))
        for weight, bias in ((self.first, self.first_bias), (self.second, self.second_bias)):
            initialize(weight, options.initialization, self.inner.gain, generator)
            initialize_bias(bias.data, options.initialization, width, generator)
        # Each block adds to the sum: scaled down by their number, the sum stays of the size of one.
        self.second.data.mul_(options.blocks**-0.5)
        self.norm = BatchNorm(width) if options.batch_norm else None

    def affine(self, h: Tensor) -> Tensor:
        a = F.linear(h, self.first, self.first_bias)
        body = self.inner.function(a if self.norm is None else self.norm(a))
        return h + F.linear(body, self.second, self.second_bias)

    def activate(self, a: Tensor) -> Tensor:
        return a


class ResidualMLP(Network):
    """layer1, a layer for each block, and the output layer."""

    Options = ResidualMLPOptions

    @staticmethod
    def check(options: ResidualMLPOptions, task: Task) -> None:
        """Raises SpecError where a dense network cannot take the data."""
        check_single_samples("residual_mlp", task)

    @classmethod
    def build(cls, options: ResidualMLPOptions, task: Task, streams: StreamBook) -> Self:
        """The network for `task`, float32 on the CPU."""
        layers: list[Layer] = [
            DenseLayer(
                "layer1",
                task.input_shape,
                options.width,
                streams,
                activation=options.activation,
                initialization=options.initialization,
            )
        ]
        for number in range(2, options.blocks + 2):
            layers.append(ResidualDense(f"layer{number}", options, streams))
        name = f"layer{options.blocks + 2}"
        layers.append(DenseLayer(name, (options.width,), task.outputs, streams, initialization=options.initialization))
        return cls(layers)
