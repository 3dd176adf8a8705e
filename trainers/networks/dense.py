"""A layer of dense weights, with or without norm and dropout: what an MLP is made of, and other networks end in."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import BatchNorm, Dropout, Layer, Shape
from trainers.networks.initialization import initialize, initialize_bias
from trainers.products import linear
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
        if self._flattens:
            h = h.flatten(1)
        a = linear(h, self.weight, self.bias)
        return a if self.norm is None else self.norm(a)

    def activate(self, a: Tensor) -> Tensor:
        h = self.activation.function(a)
        if self.transmit != "value":
            h = self.passed_up(h)
        return h if self.dropout is None else self.dropout(h)

    def passed_up(self, h: Tensor) -> Tensor:
        """What the layer above sees of activation h. In evaluation a sample is replaced by its expectation, since
        predictions are pure; an algorithm that averages over samples draws them itself."""
        if self.transmit == "sign":
            return ACTIVATIONS["sign"](h)
        if self.transmit == "sample" and self.training:
            return torch.bernoulli(h, generator=self.sampling)
        return h
