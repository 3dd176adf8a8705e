"""A layer of convolution kernels, with or without norm, dropout and pooling, and what the networks of images share."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import BatchNorm, Dropout, Layer, Shape
from trainers.networks.dense import check_single_samples
from trainers.networks.initialization import initialize, initialize_bias
from trainers.streams import StreamBook

PoolName = Literal["max", "average"]


def check_images(kind: str, task: Task) -> None:
    """Raises SpecError unless the data are images, one label or vector each."""
    check_single_samples(kind, task)
    if len(task.input_shape) != 3:
        raise SpecError(
            "#/network/kind",
            f"A {kind} takes images, channels x height x width; a sample of this data set has the shape "
            f"{list(task.input_shape)}. Use an mlp.",
            got=kind,
            allowed=["mlp"],
        )


def slid(size: int, window: int, stride: int, padding: int) -> int:
    """Places of a window along a side of `size` pixels: the side of what a convolution or a pool puts out."""
    return (size + 2 * padding - window) // stride + 1


def as_images(h: Tensor) -> Tensor:
    """`h` in the memory order that convolutions are fastest in: on CPUs channels last (up to 1.7 × in a ResNet)."""
    return h.contiguous(memory_format=torch.channels_last) if h.device.type == "cpu" else h


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling over square windows."""

    kind: PoolName
    size: int
    stride: int
    padding: int = 0

    def __call__(self, h: Tensor) -> Tensor:
        if self.kind == "max":
            return F.max_pool2d(h, self.size, self.stride, self.padding)
        # The border's zeros are no pixels: a window is averaged over those that it covers.
        return F.avg_pool2d(h, self.size, self.stride, self.padding, count_include_pad=False)

    def side(self, size: int) -> int:
        return slid(size, self.size, self.stride, self.padding)


class ConvLayer(Layer):
    """a = norm(K ∗ h + b); h = pool(s(a)). `weight` is (filters, channels, kernel, kernel)."""

    def __init__(
        self,
        name: str,
        in_shape: Shape,
        filters: int,
        streams: StreamBook,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        activation: str = "relu",
        bias: bool = True,
        norm: BatchNorm | None = None,
        pool: Pool | None = None,
        dropout: float = 0.0,
        initialization: str = "kaiming",
    ) -> None:
        super().__init__()
        channels, *sides = in_shape
        sides = [slid(side, kernel, stride, padding) for side in sides]
        if pool is not None:
            sides = [pool.side(side) for side in sides]
        self.name, self.in_shape, self.out_shape = name, in_shape, (filters, *sides)
        self.activation = ACTIVATIONS[activation]
        self.stride, self.padding, self.pool = stride, padding, pool
        self.weight = nn.Parameter(torch.empty(filters, channels, kernel, kernel))
        generator = streams.once(f"weights/{name}")
        initialize(self.weight, initialization, self.activation.gain, generator)
        self.bias = nn.Parameter(torch.empty(filters)) if bias else None
        if self.bias is not None:
            initialize_bias(self.bias.data, initialization, channels * kernel * kernel, generator)
        self.norm = norm
        self.dropout = Dropout(dropout, streams(f"dropout/{name}")) if dropout else None

    def affine(self, h: Tensor) -> Tensor:
        a = F.conv2d(as_images(h), self.weight, self.bias, self.stride, self.padding)
        return a if self.norm is None else self.norm(a)

    def activate(self, a: Tensor) -> Tensor:
        h = self.activation.function(a)
        if self.pool is not None:
            h = self.pool(h)
        return h if self.dropout is None else self.dropout(h)
