"""Runs a network so that training never notices: nothing is drawn, tracked, or left behind."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainers.algorithms.base import Batch
from trainers.networks.activations import Activation
from trainers.networks.base import BatchNorm, Layer, Network, RecurrentNetwork, Watched


@contextmanager
def undisturbed(network: Network) -> Iterator[None]:
    """As in training, but without dropout and sampling, and with batch statistics that are not tracked.

    Running statistics would give another picture: at the first step they still are 0 and 1.
    """
    modes = [(module, module.training) for module in network.modules()]
    norms = [(module, module.track) for module in network.modules() if isinstance(module, BatchNorm)]
    network.train(False)
    for norm, _ in norms:
        norm.training, norm.track = True, False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for norm, track in norms:
            norm.track = track


@contextmanager
def requiring_gradients(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Autograd on, for frozen weights too, within the block."""
    weights = list(weights)
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)


def outputs_of(network: Network, batch: Batch, carried: tuple[Tensor, ...], watched: Watched | None = None) -> Tensor:
    """Outputs of a batch; a recurrent network goes on from the state that the algorithm carries, if any."""
    if isinstance(network, RecurrentNetwork):
        return network.run(batch.inputs, None if batch.starts or not carried else carried, watched)[0]
    return network(batch.inputs, watched)


def unit_activations(layer: Layer, pre_activations: list[Tensor]) -> tuple[Activation | None, Tensor]:
    """The layer's nonlinearity, and its units' values: (batch, units, …), or (batch, time, units) for several steps.

    Before pooling and flattening, so that a convolution's units are its channels. A layer without one nonlinearity
    of its own (an LSTM cell) is shown by its pre-activations.
    """
    a = pre_activations[0] if len(pre_activations) == 1 else torch.stack(pre_activations, dim=1)
    a = a.detach()
    activation = getattr(layer, "activation", None)
    if not isinstance(activation, Activation):
        return None, a
    return activation, activation.function(a)


def all_but_units(h: Tensor) -> tuple[int, ...]:
    """The dimensions to reduce over so that one number a unit is left; see `unit_activations`."""
    unit = 2 if h.dim() == 3 else 1
    return tuple(dim for dim in range(h.dim()) if dim != unit)


def weights_by_layer(network: Network) -> dict[str, dict[str, nn.Parameter]]:
    """Layer → name in the network → weight matrix or kernel; biases and norms are left out."""
    names = {id(weight): name for name, weight in network.named_parameters()}
    return {
        layer.name: {names[id(weight)]: weight for weight in layer.parameters() if weight.dim() > 1}
        for layer in network.layers
    }
