"""Hyperparameters of the HSIC bottleneck: variants, kernels, and the read-out (arXiv 1908.01580; pHSIC: 2006.07123)."""

from typing import Literal

from pydantic import Field

from trainers.optimizers import OptimizerName, OptimizerOptions

PROGRAM = "the authors' program, scripts for MNIST"
SUCCESSOR = "the pHSIC authors' program, its MLP script"


class HSICBottleneckHyperparameters(OptimizerOptions):
    """Plain optimizer options are the HSIC-trained layers', each with an optimizer of its own."""

    readout: Literal["together", "after", "match"] = Field(
        default="together",
        description="how classes are read off: a linear output layer trained on each batch with the others (together) "
        "or once they are done (after); match: the output layer is trained by HSIC too, and its units are paired with "
        "classes on training data, in a pass of its own each epoch",
    )
    readout_epochs: int | None = Field(
        default=None, ge=1, description="of training.epochs, the last ones, for readout after; null: 5, or all but one"
    )
    silence_level: float | None = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="for readout match: a sample that lifts no output unit so far is of the class coded by silence, "
        "where training data are read better so; null: units alone. With batch_norm_output 1 is a standard deviation",
    )
    criterion: Literal["normalized", "phsic"] = Field(
        default="normalized",
        description="normalized: nHSIC(Z, X) − β nHSIC(Z, Y); phsic: the successor's pHSIC(Z, Z) − γ pHSIC(Z, Y)",
    )
    input_term: bool = Field(
        default=True, description="false: leave the first term out; the dependence on the label alone is trained"
    )
    label_weight: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="weight of the dependence on the label; null: 50, for phsic 2",
        json_schema_extra={"x-symbol": "β", "x-source": PROGRAM},
    )
    kernel: Literal["gaussian", "cosine"] | None = Field(
        default=None, description="of the activations; null: gaussian, for phsic cosine"
    )
    sigma: float = Field(
        default=5.0,
        gt=0,
        le=1e6,
        description="width of the Gaussian kernels: exp(−‖u − v‖² / (2σ²d)), d features",
        json_schema_extra={"x-symbol": "σ", "x-source": PROGRAM},
    )
    sigma_input: float | None = Field(default=None, gt=0, le=1e6, description="of the inputs' kernel; null: as sigma")
    sigma_label: float | None = Field(default=None, gt=0, le=1e6, description="of the labels' kernel; null: as sigma")
    branch_sigmas: list[float] = Field(
        default=[],
        max_length=16,
        description="combined σ: a branch of hidden layers for each, their outputs averaged and batch-normed for the "
        "read-out; empty: one branch with sigma",
    )
    branch_initialization: str | None = Field(
        default=None, description="of the weights of all branches but the first; null: the network's"
    )
    label_kernel: Literal["gaussian", "linear", "cosine"] | None = Field(
        default=None,
        description="of one-hot labels (cosine: centred ones); null: gaussian, for phsic cosine; of a regression's "
        "values it is always linear",
    )
    epsilon: float = Field(
        default=1e-5,
        gt=0,
        le=1,
        description="regularises the kernels' inverses: K̃ (K̃ + ε m I)⁻¹",
        json_schema_extra={"x-symbol": "ε", "x-source": PROGRAM},
    )
    groups: int | None = Field(
        default=None,
        ge=2,
        le=65_536,
        description="kernels see the deviation within each of so many groups of units, not the units; null: the units",
        json_schema_extra={"x-source": SUCCESSOR},
    )
    grouping_power: float = Field(default=0.5, gt=0, le=2, json_schema_extra={"x-symbol": "p", "x-source": SUCCESSOR})
    grouping_smoothing: float = Field(
        default=1.0, ge=0, le=1e6, json_schema_extra={"x-symbol": "δ", "x-source": SUCCESSOR}
    )
    layer_order: Literal["sequential", "parallel"] = Field(
        default="sequential",
        description="sequential: a layer sees the layer below as just updated, the paper's Algorithm 1; parallel: all "
        "from one forward pass",
    )
    kernel_approximation: Literal["none", "random_features"] = Field(
        default="none", description="random_features: batch · features² instead of batch³, with an error that is shown"
    )
    random_features: int = Field(default=64, ge=2, le=65_536, multiple_of=2, description="of each layer and the input")
    readout_optimizer: OptimizerName | None = Field(default=None, description="of the output layer; null: as optimizer")
    readout_learning_rate: float | None = Field(
        default=None, gt=0, le=1000, description="of the output layer; null: as learning_rate"
    )
    readout_weight_decay: float | None = Field(default=None, ge=0, description="null: as weight_decay")
