"""Convolutional network: layers of kernels, each with or without pooling, then dense layers.

preset     convolutions (filters@kernel)                           dense
lenet5     6@5x5 max-pool, 16@5x5 max-pool, no padding             120, 84          LeCun et al. 1998
vgg        32, 32 pool, 64, 64 pool, 128, 128 pool, all @3x3       128              after arXiv 1409.1556, small
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainers.datasets.declaration import Task
from trainers.errors import SpecError
from trainers.networks.activations import ActivationName
from trainers.networks.base import BatchNorm, Layer, Network, Shape, Width
from trainers.networks.convolution import ConvLayer, Pool, PoolName, check_images, slid
from trainers.networks.dense import DenseLayer
from trainers.networks.initialization import Initialization
from trainers.spec import StrictModel
from trainers.streams import StreamBook

Side = Annotated[int, Field(ge=1, le=64)]


class Convolution(StrictModel):
    """One layer of kernels."""

    filters: Width
    kernel: Side = 3
    stride: Side = 1
    padding: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None, description="pixels of zeros on each side; left out: kernel // 2, which keeps the size"
    )
    pool: PoolName | None = Field(default=None, description="after the nonlinearity; null: none")
    pool_size: Side = 2
    pool_stride: Side | None = Field(default=None, description="left out: pool_size")
    pool_padding: int = Field(default=0, ge=0, le=32)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.padding is None:
            self.padding = self.kernel // 2
        if self.pool_stride is None:
            self.pool_stride = self.pool_size
        if 2 * self.pool_padding > self.pool_size:
            raise ValueError(f"pool_padding must be at most half of pool_size, {self.pool_size // 2}")
        return self

    def pooling(self) -> Pool | None:
        """The pool of this layer, if any."""
        if self.pool is None:
            return None
        return Pool(self.pool, self.pool_size, self.pool_stride or self.pool_size, self.pool_padding)


PRESETS: dict[str, dict[str, Any]] = {
    "lenet5": {
        "convolutions": [{"filters": filters, "kernel": 5, "padding": 0, "pool": "max"} for filters in (6, 16)],
        "hidden": [120, 84],
    },
    "vgg": {
        "convolutions": [{"filters": filters, "pool": pool} for filters in (32, 64, 128) for pool in (None, "max")],
        "hidden": [128],
        "batch_norm": True,
    },
}


class ConvNetOptions(StrictModel):
    """`network` of a spec with kind convnet. What a preset says can be said otherwise, field by field."""

    kind: Literal["convnet"] = "convnet"
    preset: Literal["lenet5", "vgg"] | None = Field(
        default=None, description="fills what is left out; vgg where convolutions are left out too"
    )
    convolutions: list[Convolution] = Field(default=[], max_length=100, description="layers of kernels, from the input")
    hidden: list[Width] = Field(default=[], max_length=20, description="widths of the dense hidden layers above them")
    activation: ActivationName | list[ActivationName] = Field(
        default="relu", description="of all hidden layers, or one for each, convolutions first"
    )
    batch_norm: bool = Field(default=False, description="between weights and nonlinearity of each hidden layer")
    batch_norm_affine: bool = Field(default=True, description="batch norm learns a scale and a shift")
    hidden_bias: bool = True
    output_bias: bool = True
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of dense hidden activations set to 0 in training"
    )
    convolution_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="the same, of the convolutions' activations"
    )
    initialization: Initialization = "kaiming"

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset")
        if preset is None and "convolutions" not in data:
            preset = "vgg"
        if not isinstance(preset, str) or preset not in PRESETS:
            return data
        return {**PRESETS[preset], **data, "preset": preset}

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        if not self.convolutions:
            raise ValueError("convolutions must name at least one layer; use kind mlp for a network without")
        layers = len(self.convolutions) + len(self.hidden)
        if isinstance(self.activation, list) and len(self.activation) != layers:
            raise ValueError(f"activation must be one name, or one for each of the {layers} hidden layers")
        return self

    def activations(self) -> list[str]:
        """One name for each hidden layer, convolutions first."""
        layers = len(self.convolutions) + len(self.hidden)
        return list(self.activation) if isinstance(self.activation, list) else [self.activation] * layers


class ConvNet(Network):
    """layer1 … layerN: convolutions, dense hidden layers, and the output layer."""

    Options = ConvNetOptions

    @staticmethod
    def check(options: ConvNetOptions, task: Task) -> None:
        """Raises SpecError where a convolutional network cannot take the data, or maps shrink to nothing."""
        check_images("convnet", task)
        shape = task.input_shape
        for place, each in enumerate(options.convolutions):
            below, shape = shape, _shape_after(each, shape)
            if min(shape) < 1:
                raise SpecError(
                    f"#/network/convolutions/{place}",
                    f"Convolution {place + 1} gets maps of {below[1]} x {below[2]} pixels, too few for its kernel of "
                    f"{each.kernel} and its pool. Give it padding, leave a pool out, or use fewer layers.",
                    got=each.model_dump(mode="json"),
                )

    @classmethod
    def build(cls, options: ConvNetOptions, task: Task, streams: StreamBook) -> Self:
        """The network for `task`, float32 on the CPU."""
        layers: list[Layer] = []
        shape = task.input_shape
        activations = iter(options.activations())

        def norm(features: int) -> BatchNorm | None:
            return BatchNorm(features, affine=options.batch_norm_affine) if options.batch_norm else None

        for each in options.convolutions:
            layer: Layer = ConvLayer(
                f"layer{len(layers) + 1}",
                shape,
                each.filters,
                streams,
                kernel=each.kernel,
                stride=each.stride,
                padding=each.padding or 0,
                activation=next(activations),
                bias=options.hidden_bias,
                norm=norm(each.filters),
                pool=each.pooling(),
                dropout=options.convolution_dropout,
                initialization=options.initialization,
            )
            layers.append(layer)
            shape = layer.out_shape
        for width in options.hidden:
            layers.append(
                DenseLayer(
                    f"layer{len(layers) + 1}",
                    shape,
                    width,
                    streams,
                    activation=next(activations),
                    bias=options.hidden_bias,
                    norm=norm(width),
                    dropout=options.dropout,
                    initialization=options.initialization,
                )
            )
            shape = (width,)
        layers.append(
            DenseLayer(
                f"layer{len(layers) + 1}",
                shape,
                task.outputs,
                streams,
                bias=options.output_bias,
                initialization=options.initialization,
            )
        )
        return cls(layers)


def _shape_after(each: Convolution, shape: Shape) -> Shape:
    """Shape after the convolution and its pool; a side below 1 means that they do not fit."""
    sides = [slid(side, each.kernel, each.stride, each.padding or 0) for side in shape[1:]]
    pool = each.pooling()
    if pool is not None and min(sides) >= 1:
        sides = [pool.side(side) for side in sides]
    return (each.filters, *sides)
