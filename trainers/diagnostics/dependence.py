"""How much each layer depends on the input and on the label, by normalised HSIC, whatever algorithm trains it.

nHSIC(Z, X) and nHSIC(Z, Y) of arXiv 1908.01580, eq. 5, with Gaussian kernels of one fixed width, so that algorithms can
be compared: over training the first tends to fall and the second to rise (its figure 2). Of classification alone, and
of layers that have one activation a sample.
"""

import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.algorithms.kernels import EPSILON, SIGMA, gaussian_kernel, normalized
from trainers.diagnostics.layers import Sums
from trainers.diagnostics.looking import undisturbed
from trainers.networks.base import Network, RecurrentNetwork
from trainers.objective import Objective

LARGEST = 100
"""Samples that are looked at: the first of the batch. The cost grows with their cube: 256 took 4 % of an MNIST run."""


@torch.no_grad()
def dependences(network: Network, objective: Objective, batch: Batch) -> Sums:
    """(layer, "nhsic_input") and (layer, "nhsic_label") on one batch; nothing for other tasks, or values not finite."""
    labels = batch.targets[:LARGEST]
    if objective.kind != "cross_entropy" or labels.dim() != 1 or isinstance(network, RecurrentNetwork):
        return {}
    if len(labels) < 2 or not batch.inputs.is_floating_point():
        return {}
    with undisturbed(network), torch.autocast(batch.inputs.device.type, enabled=False):
        # The whole batch goes through, since batch norm looks at all of it.
        activations = [h[:LARGEST].double() for h in network.activations(batch.inputs)]
    inputs, layers = activations[0], activations[1:]
    if not all(bool(torch.isfinite(h).all()) for h in activations):
        return {}
    of_input, of_label = _hat(inputs), _hat(objective.one_hot(labels, torch.float64))
    sums: Sums = {}
    for layer, h in zip(network.layers, layers, strict=True):
        hat = _hat(h)
        sums[layer.name, "nhsic_input"] = (hat * of_input).sum()
        sums[layer.name, "nhsic_label"] = (hat * of_label).sum()
    return sums


def _hat(values: Tensor) -> Tensor:
    return normalized(gaussian_kernel(values, SIGMA), EPSILON)
