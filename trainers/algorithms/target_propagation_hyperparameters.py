"""Hyperparameters of difference target propagation and of its successors, with the papers' symbols and sources."""

from typing import Literal

from pydantic import Field

from trainers.optimizers import OptimizerName, OptimizerOptions

InverseLoss = Literal["autoencoder", "local_difference_reconstruction", "fixed", "encoder"]
PROGRAM = "the authors' program, continuous network on MNIST"


class DifferenceTargetPropagationHyperparameters(OptimizerOptions):
    """Defaults are the published ones of the continuous network. Plain optimizer options are the forward weights'."""

    optimizer: OptimizerName = Field(default="graves_rmsprop", description="of the forward weights")
    learning_rate: float = Field(
        default=0.01489, gt=0, le=1000, description="of W and b", json_schema_extra={"x-symbol": "lr_f"}
    )
    correction: Literal["difference", "none"] = Field(
        default="difference", description="none: plain target propagation, ĥ_{l-1} = g_l(ĥ_l)"
    )
    target_step: float = Field(
        default=0.3277,
        gt=0,
        le=1e6,
        description="how far the first target lies down the loss gradient",
        json_schema_extra={"x-symbol": "η̂", "x-source": PROGRAM},
    )
    target_step_of: Literal["batch_mean", "sample"] = Field(
        default="batch_mean",
        description="whose gradient target_step multiplies: the batch mean's loss, or each sample's own, which is "
        "batch_size times as large",
    )
    targets_start: Literal["hidden", "output"] = Field(
        default="hidden",
        description="where the first target is: at the last hidden layer, through the transposed output weights; or "
        "at the outputs, which gives the output layer an inverse and needs no transposed weights",
    )
    inverse_loss: InverseLoss = Field(
        default="autoencoder",
        description="what trains the inverses; fixed: nothing does; encoder: an auto-encoder's own encoder is the "
        "inverse of its decoder",
    )
    inverse_activation: Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity"] | None = Field(
        default=None,
        description="of the inverses; null: that of the layer each reaches",
        json_schema_extra={"x-symbol": "s̄"},
    )
    inverse_sees: Literal["value", "sign"] | None = Field(
        default=None,
        description="what of h_l the inverse is fed; null: the sign where a hidden layer passes up its sign",
    )
    feedback_initialization: str | None = Field(default=None, description="of V; null: the network's")
    feedback_noise: float = Field(
        default=0.3598,
        ge=0,
        le=100,
        description="standard deviation of the noise that trains the inverses",
        json_schema_extra={"x-symbol": "σ", "x-source": PROGRAM},
    )
    feedback_noise_decay_epochs: float | None = Field(
        default=None, gt=0, description="σ shrinks as σ / (1 + epoch / this); null: it stays"
    )
    feedback_optimizer: OptimizerName | None = Field(default=None, description="of the inverses; null: as optimizer")
    feedback_learning_rate: float = Field(
        default=0.00501,
        gt=0,
        le=1000,
        description="of V and c",
        json_schema_extra={"x-symbol": "lr_b", "x-source": PROGRAM},
    )
    feedback_schedule: Literal["epoch", "step"] = Field(
        default="epoch",
        description="epoch: a whole pass trains the inverses, then a whole pass the weights; step: each batch trains "
        "both, which saturates units unless the inverses are warmed up",
    )
    feedback_warmup: int = Field(default=0, ge=0, le=1000, description="passes of inverses only before the first epoch")
    feedback_steps: int = Field(default=1, ge=1, le=1000, description="updates of the inverses for each batch")
    input_noise: float = Field(
        default=0.0, ge=0, le=100, description="standard deviation of noise added to the inputs in training"
    )
    prediction_samples: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="samples whose class probabilities are averaged by stochastic networks",
    )
