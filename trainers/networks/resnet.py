"""Residual networks for small images (He et al. 2015, arXiv 1512.03385, section 4.2).

    layer1             3x3 convolution, norm, ReLU
    blocks             h = ReLU(x + body(x)); one block is one layer with several named weights
        basic          body = norm(conv(ReLU(norm(conv(x)))))
        single         body = ReLU(norm(conv(x))), and the norm once more around the sum: the HSIC bottleneck's block
                       the last one hands up the mean over each of its maps
    last layer         dense

From one stage of n blocks to the next, maps halve and filters double. The shortcut has no weights (option A): it takes
every second pixel and fills the new filters with zeros. Depth is 6 n + 2 for three stages of basic blocks.
`shortcut: false` leaves the skip out: the paper's plain network, whose depth hurts.
"""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.datasets.declaration import Task
from trainers.networks.activations import ACTIVATIONS, ActivationName
from trainers.networks.base import BatchNorm, Layer, Network, Shape, Width
from trainers.networks.convolution import ConvLayer, as_images, check_images, slid
from trainers.networks.dense import DenseLayer
from trainers.networks.initialization import Initialization, initialize, initialize_bias
from trainers.spec import StrictModel
from trainers.streams import StreamBook

BlockName = Literal["basic", "single"]
Kernel = Literal[1, 3, 5, 7]


class ResNetOptions(StrictModel):
    """`network` of a spec with kind resnet."""

    kind: Literal["resnet"] = "resnet"
    depth: Literal[8, 14, 20, 32, 44, 56, 110] | None = Field(
        default=None, description="6 n + 2 for n basic blocks in each of three stages; left out: 20, or as blocks says"
    )
    blocks: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default=[], max_length=10, description="blocks of each stage, in place of depth"
    )
    widths: list[Width] = Field(default=[16, 32, 64], max_length=10, description="filters of each stage")
    block: BlockName = Field(default="basic", description="basic: two convolutions a block; single: one")
    kernel: Kernel = Field(default=3, description="side of the blocks' kernels")
    stem_kernel: Kernel = 3
    stem_stride: int = Field(default=1, ge=1, le=4, description="2 halves the maps before the first block")
    hidden: list[Width] = Field(default=[], max_length=20, description="dense hidden layers between blocks and output")
    global_pool: bool = Field(default=True, description="mean over the last maps; false: all of their pixels go on")
    shortcut: bool = Field(default=True, description="false: the plain network, without skips")
    activation: ActivationName = "relu"
    batch_norm: bool = True
    batch_norm_affine: bool = Field(default=True, description="batch norm learns a scale and a shift")
    initialization: Initialization = "kaiming"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.blocks:
            self.depth = self.depth or 20
            if len(self.widths) != 3 or self.block != "basic":
                raise ValueError("depth means three stages of basic blocks; give blocks, the number in each stage")
            self.blocks = [(self.depth - 2) // 6] * 3
        if len(self.blocks) != len(self.widths):
            raise ValueError(
                f"blocks and widths must name the same stages, not {len(self.blocks)} and {len(self.widths)}"
            )
        if self.depth is not None and (self.block != "basic" or self.blocks != [(self.depth - 2) // 6] * 3):
            raise ValueError(f"depth {self.depth} does not go with blocks {self.blocks}; give one of the two")
        if any(narrow > wide for narrow, wide in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError("widths must not shrink: shortcuts without weights can add filters, not drop them")
        return self

    def activations(self) -> list[str]:
        """One name for each hidden layer."""
        return [self.activation] * (1 + sum(self.blocks) + len(self.hidden))


class _Convolution(nn.Module):
    """One kernel of a block and its norm; a block's first halves the maps where a stage begins."""

    def __init__(
        self, channels: int, filters: int, stride: int, options: ResNetOptions, gain: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, options.kernel // 2
        self.weight = nn.Parameter(torch.empty(filters, channels, options.kernel, options.kernel))
        initialize(self.weight, options.initialization, gain, generator)
        self.norm = BatchNorm(filters, affine=options.batch_norm_affine) if options.batch_norm else None
        self.bias = None if options.batch_norm else nn.Parameter(torch.empty(filters))
        if self.bias is not None:
            initialize_bias(self.bias.data, options.initialization, self.weight[0].numel(), generator)

    def forward(self, h: Tensor) -> Tensor:
        a = F.conv2d(h, self.weight, self.bias, self.stride, self.padding)
        return a if self.norm is None else self.norm(a)


class ResidualBlock(Layer):
    """a = x + body(x); h = s(a), or its mean over each map. Weights: `first.weight`, if basic `second.weight` too."""

    def __init__(
        self,
        name: str,
        in_shape: Shape,
        filters: int,
        stride: int,
        options: ResNetOptions,
        streams: StreamBook,
        *,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        channels, *sides = in_shape
        self.name, self.in_shape = name, in_shape
        self.out_shape = (filters,) if pooled else (filters, *(slid(side, 1, stride, 0) for side in sides))
        self.pooled = pooled
        self.activation, self.stride, self.shortcut = ACTIVATIONS[options.activation], stride, options.shortcut
        generator, gain = streams.once(f"weights/{name}"), self.activation.gain
        self.first = _Convolution(channels, filters, stride, options, gain, generator)
        self.second = _Convolution(filters, filters, 1, options, gain, generator) if options.block == "basic" else None
        self.norm = None
        if options.block == "single" and options.batch_norm:
            self.norm = BatchNorm(filters, affine=options.batch_norm_affine)

    def affine(self, h: Tensor) -> Tensor:
        h = as_images(h)
        body = self.activation.function(self.first(h))
        if self.second is not None:
            body = self.second(body)
        a = body + self._passed_by(h) if self.shortcut else body
        return a if self.norm is None else self.norm(a)

    def activate(self, a: Tensor) -> Tensor:
        h = self.activation.function(a)
        return h.mean((2, 3)) if self.pooled else h

    def _passed_by(self, h: Tensor) -> Tensor:
        """Option A: every `stride`-th pixel, zeros in the filters that are new."""
        new = self.out_shape[0] - self.in_shape[0]
        if self.stride > 1:
            h = h[:, :, :: self.stride, :: self.stride]
        return F.pad(h, (0, 0, 0, 0, 0, new)) if new else h


class ResNet(Network):
    """layer1 (a convolution), a layer for each block, dense hidden layers, and the output layer."""

    Options = ResNetOptions

    @staticmethod
    def check(options: ResNetOptions, task: Task) -> None:
        """Raises SpecError where a residual network cannot take the data."""
        check_images("resnet", task)

    @classmethod
    def build(cls, options: ResNetOptions, task: Task, streams: StreamBook) -> Self:
        """The network for `task`, float32 on the CPU."""
        stem = ConvLayer(
            "layer1",
            task.input_shape,
            options.widths[0],
            streams,
            kernel=options.stem_kernel,
            stride=options.stem_stride,
            padding=options.stem_kernel // 2,
            activation=options.activation,
            bias=not options.batch_norm,
            norm=BatchNorm(options.widths[0], affine=options.batch_norm_affine) if options.batch_norm else None,
            initialization=options.initialization,
        )
        layers: list[Layer] = [stem]
        plan = [  # (filters, stride) of each block
            (filters, 2 if stage > 0 and place == 0 else 1)
            for stage, (count, filters) in enumerate(zip(options.blocks, options.widths, strict=True))
            for place in range(count)
        ]
        for number, (filters, stride) in enumerate(plan, start=2):
            pooled = options.global_pool and number == len(plan) + 1
            below = layers[-1].out_shape
            layers.append(ResidualBlock(f"layer{number}", below, filters, stride, options, streams, pooled=pooled))
        for width in options.hidden:
            layers.append(
                DenseLayer(
                    f"layer{len(layers) + 1}",
                    layers[-1].out_shape,
                    width,
                    streams,
                    activation=options.activation,
                    norm=BatchNorm(width, affine=options.batch_norm_affine) if options.batch_norm else None,
                    initialization=options.initialization,
                )
            )
        name, below = f"layer{len(layers) + 1}", layers[-1].out_shape
        layers.append(DenseLayer(name, below, task.outputs, streams, initialization=options.initialization))
        return cls(layers)
