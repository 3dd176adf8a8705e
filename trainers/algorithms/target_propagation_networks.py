"""What target propagation asks of a network: which it can train, one layer's local gradient."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from trainers.errors import SpecError, UnsupportedNetwork
from trainers.networks.base import Network
from trainers.networks.dense import DenseLayer
from trainers.products import product


def refuse_untrainable(hyperparameters: Any, network: Any) -> None:
    """Raises SpecError for a network, or a combination with these hyperparameters, that cannot be trained."""
    if network.kind != "mlp":
        raise UnsupportedNetwork(
            "#/network/kind",
            "difference_target_propagation pairs each layer with an inverse of its shape and needs a network of plain "
            "dense layers. Choose mlp.",
            got=network.kind,
            allowed=["mlp"],
        )
    for field, activation in (
        *(("activation", name) for name in network.activations()),
        ("output_activation", network.output_activation),
    ):
        if activation in ("sign", "step"):
            raise UnsupportedNetwork(
                f"#/network/{field}",
                f"difference_target_propagation moves a layer by the derivative of its own activation; that of "
                f"{activation!r} is 0. For discrete units set network.activation to tanh and network.transmit to sign.",
                got=activation,
                allowed=["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity"],
            )
    for field, needs in (
        ("batch_norm", "no batch norm: a target is one sample's, and batch norm mixes samples"),
        ("batch_norm_output", "no batch norm: a target is one sample's, and batch norm mixes samples"),
        ("dropout", "no dropout: a layer must be one function, whose inverse can be learned"),
    ):
        if getattr(network, field):
            raise UnsupportedNetwork(
                f"#/network/{field}",
                f"difference_target_propagation needs {needs}. Leave network.{field} out.",
                got=getattr(network, field),
                allowed=[0.0 if field == "dropout" else False],
            )
    if hyperparameters.inverse_loss == "encoder" and len(network.hidden) != 1:
        raise SpecError(
            "#/hyperparameters/inverse_loss",
            "inverse_loss 'encoder' is for an auto-encoder of one hidden layer, whose encoder is the inverse of its "
            f"decoder; this network has {len(network.hidden)} hidden layers. Choose autoencoder.",
            got="encoder",
            allowed=["autoencoder", "local_difference_reconstruction", "fixed"],
        )


def refuse_unequal_ends(network: Network) -> None:
    """Raises SpecError where an encoder cannot be its decoder's inverse, since outputs are not like inputs."""
    if math.prod(network.in_shape) != math.prod(network.out_shape):
        raise SpecError(
            "#/hyperparameters/inverse_loss",
            "inverse_loss 'encoder' is for an auto-encoder, whose outputs are as wide as its inputs: "
            f"{math.prod(network.out_shape)} and {math.prod(network.in_shape)} here. Set dataset_options.targets to "
            "inputs, or choose autoencoder.",
            got="encoder",
            allowed=["autoencoder", "local_difference_reconstruction", "fixed"],
        )


def layer_gradients(layer: DenseLayer, delta: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Of one layer's weight and bias, by name, from ∂loss/∂a, (batch, width), and its input u_{l-1}."""
    gradients = {f"{layer.name}.weight": product(delta.t(), seen.t()).to(layer.weight.dtype)}
    if layer.bias is not None:
        gradients[f"{layer.name}.bias"] = delta.sum(0).to(layer.bias.dtype)
    return gradients


def not_finite(x: Tensor, weights: Iterable[Tensor]) -> Tensor:
    """0, or NaN where the inputs, or weights or their squares, are not finite: added to a loss, it ends the run.

    tanh turns an infinite pre-activation into a tame 1, and no derivative passes down through it here, so nothing else
    would ever show it.
    """
    return (x.sum() + torch.stack(torch._foreach_norm([each.detach() for each in weights])).sum()) * 0
