"""Which networks alternating minimization trains, and which combinations with its settings; said before a job runs."""

from typing import Any

from trainers.errors import SpecError, UnsupportedNetwork

NAME = "alternating_minimization"


def refuse_untrainable(hyperparameters: Any, network: Any) -> None:
    """Raises SpecError for a network, or a combination with these hyperparameters, that cannot be trained."""
    if network.kind not in ("mlp", "convnet", "recurrent"):
        raise UnsupportedNetwork(
            "#/network/kind",
            f"{NAME} gives each layer a code that one affine map predicts from the code below; a {network.kind} has "
            "blocks of several maps around a skip. Choose mlp, convnet or recurrent.",
            got=network.kind,
            allowed=["mlp", "convnet", "recurrent"],
        )
    if network.kind == "recurrent" and network.cell != "tanh":
        raise UnsupportedNetwork(
            "#/network/cell",
            f"{NAME} gives each time step a code, whose activation alone goes on to the next step; gates make the "
            f"state of a {network.cell} from more than one step's codes. Choose tanh.",
            got=network.cell,
            allowed=["tanh"],
        )
    output = getattr(network, "output_activation", "identity")
    if output in ("sign", "step"):
        raise UnsupportedNetwork(
            "#/network/output_activation",
            f"{NAME} trains the output layer by its loss, whose derivative through {output!r} is 0. Hidden layers may "
            "be sign or step units.",
            got=output,
            allowed=["identity", "sigmoid", "tanh"],
        )
    if "sample" in getattr(network, "transmits", list)():
        raise UnsupportedNetwork(
            "#/network/transmit",
            f"{NAME} needs a fixed function from each code to the next; a sample is drawn anew in every code step. "
            "Choose value or sign.",
            got="sample",
            allowed=["value", "sign"],
        )
    if hyperparameters.weight_update == "memory":
        _refuse_for_memory(network)
    if hyperparameters.mode == "offline" and network.kind == "recurrent":
        raise SpecError(
            "#/hyperparameters/mode",
            f"{NAME} offline keeps a code for every sample of the data set; for sequences that would be one a time "
            "step. Choose online for a recurrent network.",
            got="offline",
            allowed=["online"],
        )


def _refuse_for_memory(network: Any) -> None:
    if network.kind != "mlp":
        raise UnsupportedNetwork(
            "#/network/kind",
            f"weight_update 'memory' keeps second moments of a dense layer's inputs; a {network.kind} shares weights "
            "over places or times. Choose mlp, or weight_update gradient.",
            got=network.kind,
            allowed=["mlp"],
        )
    for field in ("batch_norm", "batch_norm_output"):
        if getattr(network, field):
            raise UnsupportedNetwork(
                f"#/network/{field}",
                "weight_update 'memory' solves a least-squares problem, linear in the weights; batch norm makes it "
                f"another. Leave network.{field} out, or choose weight_update gradient.",
                got=True,
                allowed=[False],
            )
