"""Multi-layer perceptron: any depth and width, with or without batch norm and dropout.

`transmit` says what a hidden layer passes up: its activation ("value"), the sign of it ("sign"), or a Bernoulli
sample with it as probability ("sample"): the discrete and stochastic networks of difference target propagation.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainers.datasets.declaration import Task
from trainers.networks.activations import ActivationName
from trainers.networks.base import BatchNorm, Layer, Network, Width
from trainers.networks.dense import DenseLayer, Transmit, check_single_samples
from trainers.networks.initialization import Initialization
from trainers.spec import StrictModel
from trainers.streams import StreamBook


class MLPOptions(StrictModel):
    """`network` of a spec with kind mlp."""

    kind: Literal["mlp"] = "mlp"
    hidden: list[Width] = Field(default=[256, 256], max_length=200, description="widths of the hidden layers")
    activation: ActivationName | list[ActivationName] = Field(
        default="relu", description="of all hidden layers, or one for each"
    )
    output_activation: ActivationName = "identity"
    batch_norm: bool = Field(default=False, description="between weights and nonlinearity of each hidden layer")
    batch_norm_affine: bool = Field(default=True, description="batch norm learns a scale and a shift")
    batch_norm_output: bool = Field(default=False, description="batch norm on the output layer too")
    hidden_bias: bool = True
    output_bias: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of hidden activations set to 0 in training")
    initialization: Initialization = "kaiming"
    transmit: Transmit | list[Transmit] = Field(default="value", description="what hidden layers pass up")

    @model_validator(mode="after")
    def _one_for_each(self) -> Self:
        for name in ("activation", "transmit"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) != len(self.hidden):
                raise ValueError(f"{name} must be one name, or one for each of the {len(self.hidden)} hidden layers")
        for activation, transmit in zip(self.activations(), self.transmits(), strict=True):
            if transmit == "sample" and activation not in ("sigmoid", "step"):
                raise ValueError(f"transmit 'sample' needs probabilities: activation sigmoid, not {activation}")
        return self

    def activations(self) -> list[str]:
        """One name for each hidden layer."""
        return list(self.activation) if isinstance(self.activation, list) else [self.activation] * len(self.hidden)

    def transmits(self) -> list[str]:
        """One for each hidden layer."""
        return list(self.transmit) if isinstance(self.transmit, list) else [self.transmit] * len(self.hidden)


class MLP(Network):
    """layer1 … layerN, the last the output layer."""

    Options = MLPOptions

    @staticmethod
    def check(options: MLPOptions, task: Task) -> None:
        """Raises SpecError where an MLP cannot take the data."""
        check_single_samples("mlp", task)

    @classmethod
    def build(cls, options: MLPOptions, task: Task, streams: StreamBook) -> Self:
        """The network for `task`, float32 on the CPU."""
        layers: list[Layer] = []
        shape, outputs = task.input_shape, task.outputs
        for number, (width, activation, transmit) in enumerate(
            zip(options.hidden, options.activations(), options.transmits(), strict=True), start=1
        ):
            layers.append(
                DenseLayer(
                    f"layer{number}",
                    shape,
                    width,
                    streams,
                    activation=activation,
                    bias=options.hidden_bias,
                    norm=BatchNorm(width, affine=options.batch_norm_affine) if options.batch_norm else None,
                    dropout=options.dropout,
                    initialization=options.initialization,
                    transmit=transmit,
                )
            )
            shape = (width,)
        layers.append(
            DenseLayer(
                f"layer{len(options.hidden) + 1}",
                shape,
                outputs,
                streams,
                activation=options.output_activation,
                bias=options.output_bias,
                norm=BatchNorm(outputs, affine=options.batch_norm_affine) if options.batch_norm_output else None,
                initialization=options.initialization,
            )
        )
        return cls(layers)
