"""Hyperparameters of decoupled neural interfaces, and which networks they fit; said before a job runs."""

from typing import Any, Literal

from pydantic import Field

from trainers.errors import SpecError, UnsupportedNetwork
from trainers.optimizers import OptimizerOptions

NAME = "synthetic_gradients"
RERUN = "re-implementations that follow arXiv 1608.05343"


class SyntheticGradientsHyperparameters(OptimizerOptions):
    """Defaults are those of linear cDNI. Plain optimizer options are the weights'; the synthesizers have the same
    optimizer at a rate of their own, without weight decay. Norms are clipped module by module."""

    interfaces: list[int] | None = Field(
        default=None,
        max_length=300,
        description="numbers of the hidden layers (from 1) above which the network is cut into modules; null: all",
    )
    unlock: Literal["update", "full"] = Field(
        default="update",
        description="update: modules run one after another and update at once; full: each runs on a synthetic input, "
        "predicted from the network's own, and waits for nobody",
    )
    conditioned: bool | None = Field(
        default=None,
        description="cDNI: synthesizers see the label too; of two networks, the one at the message sees what B will be "
        "asked; null: yes, except in a recurrent network",
        json_schema_extra={"x-symbol": "c"},
    )
    synthesizer_layers: int = Field(
        default=0,
        ge=0,
        le=10,
        description="hidden layers of a synthesizer, each weights, batch norm and ReLU; 0: linear. On maps they are "
        "convolutions",
        json_schema_extra={"x-symbol": "M"},
    )
    synthesizer_width: int = Field(
        default=1024, ge=1, le=65_536, description="units of its hidden layers", json_schema_extra={"x-source": RERUN}
    )
    synthesizer_filters: int = Field(
        default=128,
        ge=1,
        le=4096,
        description="of its hidden convolutions",
        json_schema_extra={"x-source": "section 3"},
    )
    synthesizer_kernel: int = Field(
        default=5, ge=1, le=31, description="of its convolutions", json_schema_extra={"x-source": "section 3"}
    )
    synthesizer_batch_norm: bool = Field(default=True, description="in its hidden layers")
    synthesizer_loss: Literal["l2", "l1"] = Field(
        default="l2", description="distance to the target: squared, or absolute; summed over units, mean over the batch"
    )
    synthesizer_learning_rate: float | None = Field(
        default=None, gt=0, le=1000, description="null: the weights' learning_rate"
    )
    gradient_scale: Literal["per_sample", "batch_mean"] = Field(
        default="per_sample",
        description="what synthesizers predict: the gradient of a sample's own loss, or 1/m of it, that of the mean "
        "over the batch, which is smaller than a step of Adam",
    )
    applied_scale: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="synthetic gradients are multiplied by this where they are applied, in two networks only those of "
        "states; null: 1, through time 0.1",
        json_schema_extra={"x-source": RERUN},
    )
    update_probability: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="of each module in each step: its weights and the synthesizers below it move, or not",
        json_schema_extra={"x-symbol": "p", "x-source": "section 3"},
    )
    borders: list[Literal["a.cell", "a.message", "b.cell"]] | None = Field(
        default=None,
        max_length=3,
        description="two networks: where a gradient is predicted; none passes at the others: the end of A's chunk, A's "
        "message to B, the end of B's; null: all",
    )
    auxiliary: bool = Field(
        default=False, description="recurrent: the state at a boundary also predicts the next synthetic gradient (Aux)"
    )
    auxiliary_weight: float = Field(default=1.0, ge=0, le=1e6, description="of the auxiliary loss")


def completed(hyperparameters: SyntheticGradientsHyperparameters, network: Any) -> SyntheticGradientsHyperparameters:
    """Every None filled in. Raises SpecError for a network, or a combination with it, that cannot be trained."""
    _refuse_untrainable(network)
    chunked = network.kind in CHUNKED
    for field, refused, sentence, allowed in _refusals(hyperparameters, network.kind):
        if refused:
            got = getattr(hyperparameters, field)
            raise SpecError(f"#/hyperparameters/{field}", sentence, got=got, allowed=[allowed])
    changes: dict[str, Any] = {
        "interfaces": None if chunked else _interfaces(hyperparameters.interfaces, len(network.activations())),
        "conditioned": network.kind != "recurrent"
        if hyperparameters.conditioned is None
        else hyperparameters.conditioned,
        "synthesizer_learning_rate": hyperparameters.synthesizer_learning_rate or hyperparameters.learning_rate,
    }
    if network.kind == "two_networks":
        asked = BORDERS if hyperparameters.borders is None else hyperparameters.borders
        changes["borders"] = [each for each in BORDERS if each in asked]
    if hyperparameters.applied_scale is None:
        changes["applied_scale"] = 0.1 if chunked else 1.0
    return hyperparameters.model_copy(update=changes)


CHUNKED = ("recurrent", "two_networks")
TRAINED = ("mlp", "convnet", *CHUNKED)
BORDERS = ("a.cell", "a.message", "b.cell")


def _interfaces(asked: list[int] | None, hidden_layers: int) -> list[int]:
    every = list(range(1, hidden_layers + 1))
    if asked is None:
        return every
    wrong = [each for each in asked if each not in every]
    if wrong or len(set(asked)) < len(asked):
        raise SpecError(
            "#/hyperparameters/interfaces",
            f"interfaces must be different numbers of hidden layers, 1 to {hidden_layers} in this network; "
            f"got {asked}.",
            got=asked,
            allowed=every,
        )
    return sorted(asked)


def _refuse_untrainable(network: Any) -> None:
    if network.kind not in TRAINED:
        raise UnsupportedNetwork(
            "#/network/kind",
            f"{NAME} cuts a chain of layers into modules that hand messages up; a {network.kind} has skips around "
            f"them. Choose one of {', '.join(TRAINED)}.",
            got=network.kind,
            allowed=list(TRAINED),
        )
    named = [("activation", each) for each in getattr(network, "activations", list)()]
    named.append(("output_activation", getattr(network, "output_activation", "identity")))
    for field, activation in named:
        if activation in ("sign", "step"):
            raise UnsupportedNetwork(
                f"#/network/{field}",
                f"{NAME} carries a gradient through each module; that of {activation!r} is 0 almost everywhere. "
                "Choose relu or tanh.",
                got=activation,
                allowed=["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity"],
            )
    for transmit in getattr(network, "transmits", list)():
        if transmit != "value":
            raise UnsupportedNetwork(
                "#/network/transmit",
                f"{NAME} carries a gradient through each module; that of passing up a {transmit} is 0 almost "
                "everywhere. Choose value.",
                got=transmit,
                allowed=["value"],
            )


def _refusals(hyperparameters: SyntheticGradientsHyperparameters, kind: str) -> list[tuple[str, bool, str, Any]]:
    """(field, whether it is refused for this kind of network, why, what is allowed)"""
    chunked = kind in CHUNKED
    return [
        (
            "interfaces",
            chunked and hyperparameters.interfaces is not None,
            "The interfaces of a recurrent network are the borders of its chunks. Leave interfaces out.",
            None,
        ),
        (
            "unlock",
            chunked and hyperparameters.unlock == "full",
            "A recurrent network's next chunk takes the state that the last one left. Choose update.",
            "update",
        ),
        (
            "conditioned",
            kind == "recurrent" and bool(hyperparameters.conditioned),
            "At the border of a chunk the labels to come are not known. Set conditioned to false.",
            False,
        ),
        (
            "update_probability",
            chunked and hyperparameters.update_probability < 1,
            "A recurrent network is one module, and updates after every chunk. Set update_probability to 1.",
            1.0,
        ),
        (
            "auxiliary",
            kind != "recurrent" and hyperparameters.auxiliary,
            f"The auxiliary task is that of a recurrent network's chunks, not of kind {kind}. Set auxiliary to false.",
            False,
        ),
        (
            "borders",
            kind != "two_networks" and hyperparameters.borders is not None,
            f"borders are those of two networks; a network of kind {kind} has others. Leave borders out.",
            None,
        ),
    ]
