"""What an algorithm may ask of a network: an ordered sequence of named layers, each `affine` then `activate`.

A layer is whatever trains as one: a weight matrix, a convolution, a ResNet block with its skip. Nothing here draws
from a global generator: weights come from the stream "weights/<layer>", dropout masks from "dropout/<layer>".
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor, nn

Shape = tuple[int, ...]
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Units of a layer, as a network's options take it."""
Watched = dict[str, list[Tensor]]
"""Layer → its pre-activations: one for a feed-forward layer, one a time step for a recurrent one. After `backward()`,
and `retain_grad()` before it, their `.grad` is the layer's teaching signal."""


class Layer(nn.Module, ABC):
    """One named layer. `in_shape` and `out_shape` are without the batch dimension."""

    name: str
    in_shape: Shape
    out_shape: Shape

    @abstractmethod
    def affine(self, h: Tensor) -> Tensor:
        """Pre-activation a of the input h: weights, norm, a block's body and skip."""

    @abstractmethod
    def activate(self, a: Tensor) -> Tensor:
        """Activation of the pre-activation a: nonlinearity, dropout, pooling. Maps stay maps: a dense layer above
        flattens what it takes, so that an algorithm's messages between layers keep their places."""

    def forward(self, h: Tensor) -> Tensor:
        return self.activate(self.affine(h))

    def with_pre_activation(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """a, and what `forward` makes of h, to the last bit, as a function of a."""
        a = self.affine(h)
        return a, self.activate(a)

    def twin(self) -> Self:
        """A layer of the same structure with copies of the weights, sharing nothing.

        Its dropout and sampling go on from copies of the generators, which no `StreamBook` saves: an algorithm that
        draws from them keeps them in its own state.
        """
        return copy.deepcopy(self)


class Network(nn.Module):
    """Layers in order, the last one the output layer."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        for layer in layers:
            self.add_module(layer.name, layer)
        self.layers = tuple(layers)
        self.in_shape, self.out_shape = layers[0].in_shape, layers[-1].out_shape

    def forward(self, inputs: Tensor, watched: Watched | None = None) -> Tensor:
        """Outputs of a batch. `watched`, an empty dict, is filled with each layer's pre-activations on the way."""
        h = inputs
        for layer in self.layers:
            if watched is None:
                h = layer(h)
            else:
                a, h = layer.with_pre_activation(h)
                watched[layer.name] = [a]
        return h

    def activations(self, inputs: Tensor) -> list[Tensor]:
        """h_0 … h_L: the input and every layer's activation."""
        h = [inputs]
        for layer in self.layers:
            h.append(layer(h[-1]))
        return h

    def weights(self) -> dict[str, nn.Parameter]:
        """Weight matrices and kernels by name, biases and norms left out."""
        return {name: value for name, value in self.named_parameters() if value.dim() > 1}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode (running statistics, no dropout) within the block."""
        before = self.training
        self.train(False)
        try:
            yield
        finally:
            self.train(before)


class RecurrentNetwork(Network, ABC):
    """A network that is run along a sequence, chunk by chunk, and carries a state."""

    @abstractmethod
    def run(
        self, chunk: Tensor, state: tuple[Tensor, ...] | None, watched: Watched | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs for a chunk, (batch, T, outputs) or (batch, outputs) for many-to-one, and the state after it.

        `chunk` is (batch, T, features), or (batch, T) int64 symbols; `state` None starts from zeros.
        """

    def forward(self, inputs: Tensor, watched: Watched | None = None) -> Tensor:
        return self.run(inputs, None, watched)[0]


class BatchNorm(nn.Module):
    """Batch normalisation over all but the feature dimension (dimension 1).

    A subclass of nothing in torch.nn, so that an algorithm can run a layer twice in a step and move the running
    statistics once: set `track = False` around the runs that should not count.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, features: int, *, affine: bool = True, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon, self.track = momentum, epsilon, True
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_variance", torch.ones(features))

    def forward(self, a: Tensor) -> Tensor:
        # A single value per feature has no variance: such a batch is normalised like an evaluated one.
        batch_statistics = self.training and a.numel() > a.shape[1]
        tracked = self.track or not batch_statistics
        return nn.functional.batch_norm(
            a,
            self.running_mean if tracked else None,
            self.running_variance if tracked else None,
            self.weight,
            self.bias,
            batch_statistics,
            self.momentum,
            self.epsilon,
        )


class Dropout(nn.Module):
    """Dropout by a generator of its own: `torch.nn.functional.dropout` draws from the global one."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rate, self.generator = rate, generator

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return h
        kept = torch.empty_like(h).bernoulli_(1 - self.rate, generator=self.generator)
        return h * kept.div_(1 - self.rate)
