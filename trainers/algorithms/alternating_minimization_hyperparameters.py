"""Hyperparameters of alternating minimization; their defaults are those of the authors' program."""

from typing import Literal

from pydantic import Field

from trainers.algorithms.alternating_minimization_layers import Surrogate
from trainers.optimizers import OptimizerOptions

PROGRAM = "the authors' program, fully connected network on MNIST"


class AlternatingMinimizationHyperparameters(OptimizerOptions):
    """Defaults are those of the authors' program. Plain optimizer options are the weights', one optimizer a layer."""

    learning_rate: float = Field(
        default=0.008, gt=0, le=1000, description="of the weights", json_schema_extra={"x-source": PROGRAM}
    )
    weight_update: Literal["gradient", "memory"] = Field(
        default="gradient",
        description="gradient: AM-Adam, AM-SGD, by the optimizer; memory: AM-mem, hidden weights by block coordinate "
        "descent on second moments of all samples so far",
    )
    mode: Literal["online", "offline"] = Field(
        default="online",
        description="online: codes start at their forward values in every batch; offline: each sample's codes are "
        "kept, and an epoch is one pass for all codes, then one for all weights",
    )
    mu: float = Field(
        default=0.003, gt=0, le=1e6, description="of eq. 1", json_schema_extra={"x-symbol": "μ", "x-source": PROGRAM}
    )
    mu_growth: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="added to mu after every batch, up to ten times mu",
        json_schema_extra={"x-symbol": "d_μ", "x-source": PROGRAM},
    )
    mu_on: Literal["top", "all"] = Field(
        default="top",
        description="which code's pull from above is divided by mu: the top one's, as eq. 1 has it; all: every code's, "
        "as the authors' program for convolutional networks has it",
    )
    reduction: Literal["mean", "sum"] = Field(
        default="mean",
        description="squared differences over a layer's units: mean, as the authors' program, makes all codes but the "
        "top one barely move; sum, as eq. 1. Over the batch it is the mean either way",
    )
    code_steps: int = Field(
        default=5, ge=1, le=1000, json_schema_extra={"x-symbol": "n_c", "x-source": PROGRAM}, description="of each code"
    )
    code_learning_rate: float = Field(
        default=0.3,
        gt=0,
        le=1e6,
        description="of the codes, on losses that are means over the batch",
        json_schema_extra={"x-source": PROGRAM},
    )
    code_momentum: float = Field(
        default=0.9, ge=0, lt=1, description="fresh for every code", json_schema_extra={"x-source": PROGRAM}
    )
    code_nesterov: bool = Field(default=True, json_schema_extra={"x-source": PROGRAM})
    proximity: bool = Field(
        default=True,
        description="codes are held by their own layer's prediction, as eq. 1 has it; false: they are not, as in the "
        "authors' program, where that term has no gradient",
    )
    code_sparsity: float = Field(
        default=0.0, ge=0, le=1e6, description="weight of mean |c|", json_schema_extra={"x-symbol": "λ_c"}
    )
    weight_steps: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="of each layer for each batch",
        json_schema_extra={"x-symbol": "n_w", "x-source": PROGRAM},
    )
    regression_weight: float = Field(
        default=1.0,
        gt=0,
        le=1e12,
        description="multiplies hidden layers' squared differences in the weights' phase: Adam divides it out again, "
        "but for its ε of 1e-8, below which the small gradients of low layers are lost",
    )
    weight_sparsity: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="weight of mean |W|; with memory, of the sum of |W| in the surrogate objective",
        json_schema_extra={"x-symbol": "λ_w"},
    )
    surrogate: Surrogate = Field(
        default="tanh",
        description="whose derivative stands for that of a sign or step unit in the code steps; the weights need none",
    )
    memory_forgetting: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="0: second moments are sums over all samples so far; else a moving average",
        json_schema_extra={"x-symbol": "η"},
    )
    memory_sweeps: int = Field(
        default=1,
        ge=1,
        le=20,
        description="over a layer's columns for each batch",
        json_schema_extra={"x-source": PROGRAM},
    )
    memory_tolerance: float = Field(
        default=1e-3,
        ge=0,
        le=1,
        description="sweeps of a layer end once no weight changes by as much",
        json_schema_extra={"x-source": PROGRAM},
    )
