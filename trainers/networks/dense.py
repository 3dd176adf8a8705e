"""A layer of dense weights, with or without norm and dropout: what an MLP is made of, and other networks end in."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ACTIVATIONS, Activation
from trainers.networks.base import BatchNorm, Dropout, Layer, Shape
from trainers.networks.initialization import initialize, initialize_bias
from trainers.products import linear, tanh_comes_with_product, tanh_linear, tanh_of
from trainers.streams import StreamBook

Transmit = Literal["value", "sign", "sample"]


def check_single_samples(kind: str, task: Task) -> None:
    """Raises SpecError unless each sample stands alone and has one label or vector."""
    if task.kind in ("classification", "regression"):
        return
    if task.heads:
        raise SpecError(
            "#/network/kind",
            f"This data set asks for {len(task.heads)} answers at once ({', '.join(task.heads)}); a network of kind "
            f"{kind} gives one.",
            got=kind,
        )
    raise SpecError(
        "#/network/kind",
        f"A network of kind {kind} takes single samples; this data set is a sequence ({task.kind}). "
        "Use a recurrent network.",
        got=kind,
        allowed=["recurrent"],
    )


def affine_and_activation(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation
) -> tuple[Tensor, Tensor]:
    """a = x Wᵀ + b and s(a). Where tanh comes with the product, s(a) stands for a too: its derivative is 1 − s(a)²."""
    if activation.name == "tanh" and tanh_comes_with_product(x, weight):
        s = tanh_linear(x, weight, bias)
        return s, s
    a = linear(x, weight, bias)
    return a, activation.function(a)


class DenseLayer(Layer):
    """a = norm(W h + b); h = transmit(s(a)). `weight` is (out, in)."""

    def __init__(
        self,
        name: str,
        in_shape: Shape,
        width: int,
        streams: StreamBook,
        *,
        activation: str = "identity",
        bias: bool = True,
        norm: BatchNorm | None = None,
        dropout: float = 0.0,
        initialization: str = "kaiming",
        transmit: str = "value",
    ) -> None:
        super().__init__()
        self.name, self.in_shape, self.out_shape = name, in_shape, (width,)
        self.activation = ACTIVATIONS[activation]
        self.transmit = transmit
        fan_in = math.prod(in_shape)
        self.weight = nn.Parameter(torch.empty(width, fan_in))
        generator = streams.once(f"weights/{name}")
        initialize(self.weight, initialization, self.activation.gain, generator)
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        if self.bias is not None:
            initialize_bias(self.bias.data, initialization, fan_in, generator)
        self.norm = norm
        self.dropout = Dropout(dropout, streams(f"dropout/{name}")) if dropout else None
        self.sampling = streams(f"sampling/{name}") if transmit == "sample" else None
        self._flattens = len(in_shape) > 1

    def affine(self, h: Tensor) -> Tensor:
        a = linear(self._flat(h), self.weight, self.bias)
        return a if self.norm is None else self.norm(a)

    def activate(self, a: Tensor) -> Tensor:
        return self._sent(self.activation.function(a))

    def forward(self, h: Tensor) -> Tensor:
        return self._sent(self.activation_of(h)[1])

    def with_pre_activation(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self._flat(h)
        a = self.affine(h)
        if self.activation.name == "tanh" and self.norm is None and tanh_comes_with_product(h, self.weight):
            return a, self._sent(tanh_of(a, h, self.weight, self.bias))
        return a, self.activate(a)

    def activation_of(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """a, or what stands for it (`affine_and_activation`), and s(a), before anything is passed up."""
        if self.norm is None:
            return affine_and_activation(self._flat(h), self.weight, self.bias, self.activation)
        a = self.affine(h)
        return a, self.activation.function(a)

    def _flat(self, h: Tensor) -> Tensor:
        return h.flatten(1) if self._flattens and h.dim() > 2 else h

    def _sent(self, s: Tensor) -> Tensor:
        if self.transmit != "value":
            s = self.passed_up(s)
        return s if self.dropout is None else self.dropout(s)

    def passed_up(self, h: Tensor) -> Tensor:
        """What the layer above sees of activation h. In evaluation a sample is replaced by its expectation, since
        predictions are pure; an algorithm that averages over samples draws them itself."""
        if self.transmit == "sign":
            return ACTIVATIONS["sign"](h)
        if self.transmit == "sample" and self.training:
            return torch.bernoulli(h, generator=self.sampling)
        return h
