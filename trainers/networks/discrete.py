"""Running networks whose hidden layers pass up a sign or a Bernoulli sample (`transmit`), not their activation."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trainers.networks.base import Network, Watched
from trainers.networks.dense import DenseLayer

Through = Literal["refuse", "zero", "straight_through", "discretize_at_test"]
"""What a gradient does at a sign or a sample, whose derivative is 0 almost everywhere.

refuse               such a network is not trained
zero                 nothing passes: layers below the first of them keep their initial weights
straight_through     it passes as if the activation itself had been passed up (Bengio et al. 2013, arXiv 1308.3432)
discretize_at_test   training passes the activation up, and only predictions the sign or the sample
"""


def transmits_of(network: Network) -> list[str]:
    """What each layer passes up; "value" for layers that know nothing else."""
    return [getattr(layer, "transmit", "value") for layer in network.layers]


def forward_through(network: Network, inputs: Tensor, through: Through, watched: Watched | None = None) -> Tensor:
    """Outputs of a batch in training, for autograd; `watched` as for `Network.forward`."""
    h = inputs
    for layer in network.layers:
        if not isinstance(layer, DenseLayer):
            raise TypeError(f"only dense layers pass up signs or samples; {layer.name} is a {type(layer).__name__}")
        a = layer.affine(h)
        if watched is not None:
            watched[layer.name] = [a]
        h = layer.activation.function(a)
        if through != "discretize_at_test" and layer.transmit != "value":
            u = layer.passed_up(h.detach() if through == "straight_through" else h)
            h = h + (u - h).detach() if through == "straight_through" else u
        if layer.dropout is not None:
            h = layer.dropout(h)
    return h


def mean_of_samples(network: Network, inputs: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Log of the mean class probabilities of a stochastic network over `samples` passes, (batch, classes).

    Up to its first sampling layer the network is one function, and is run once. Call it in evaluation mode.
    """
    layers: Sequence[DenseLayer] = [layer for layer in network.layers if isinstance(layer, DenseLayer)]
    first = next(number for number, layer in enumerate(layers) if layer.transmit == "sample")
    h = inputs
    for layer in layers[:first]:
        h = layer(h)
    probabilities = layers[first].activation.function(layers[first].affine(h))
    total = torch.zeros((), device=inputs.device)
    for _ in range(samples):
        u = torch.bernoulli(probabilities, generator=generator)
        for layer in layers[first + 1 :]:
            u = layer.activation.function(layer.affine(u))
            u = torch.bernoulli(u, generator=generator) if layer.transmit == "sample" else layer.passed_up(u)
        total = total + torch.softmax(u, -1)
    # A class to which no sample gave any probability keeps a finite, tiny one.
    return (total / samples).clamp(min=torch.finfo(torch.float32).tiny).log()
