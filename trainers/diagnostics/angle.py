"""Each layer's direction against backprop's on the same batch, beside what a random teaching signal would score.

The cosine is over the layer's weights. Backprop's gradient is that of the loss with dropout off, by the weights before
the step. It costs a forward and a backward pass at a diagnosed step, which the algorithms that need none else pay.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.diagnostics.looking import outputs_of, requiring_gradients, undisturbed, weights_by_layer
from trainers.networks.base import Network, RecurrentNetwork
from trainers.objective import Objective
from trainers.streams import generator_for

NORM_FLOOR = 1e-12
"""Of a layer's gradient. The loss's own error is known to 1e-7 a sample in float32, and what is left of that after
the division by the batch and many small derivatives is noise, to which an angle would mean nothing."""
DRAWS = 4
"""Random signals a layer; their root mean square is reported."""

Gradients = dict[str, dict[str, Tensor]]
"""Layer → weight → ∂ℓ/∂W."""


def backprop_gradients(
    network: Network, objective: Objective, batch: Batch, carried: tuple[Tensor, ...] = ()
) -> Gradients:
    """What backprop would follow, layer by layer; a layer where that is below the floor is left out."""
    layers = weights_by_layer(network)
    weights = [weight for of_layer in layers.values() for weight in of_layer.values()]
    with undisturbed(network), requiring_gradients(weights):
        loss = objective.loss(outputs_of(network, batch, carried), batch.targets)
        found = iter(torch.autograd.grad(loss, weights, allow_unused=True))
    gradients: Gradients = {}
    for layer, of_layer in layers.items():
        each = {name: next(found) for name in of_layer}
        known = {name: gradient for name, gradient in each.items() if gradient is not None}
        if known and bool(_length(list(known.values())) > NORM_FLOOR):
            gradients[layer] = known
    return gradients


def cosines(
    gradients: Gradients, directions: Mapping[str, Tensor], changes: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Layer → cosine between its descent direction and −∂ℓ/∂W; `changes` stand in where no direction is reported.

    A layer that did not move has none.
    """
    found: dict[str, Tensor] = {}
    for layer, of_layer in gradients.items():
        reported = {name: directions[name] for name in of_layer if name in directions}
        moved = reported or {name: changes[layer][name] for name in of_layer}
        ours = [moved[name] for name in moved]
        if bool(_length(ours) > 0):
            found[layer] = -_cosine(ours, [of_layer[name] for name in moved])
    return found


def random_cosines(network: Network, gradients: Gradients, batch: Batch, *, seed: int, step: int) -> dict[str, Tensor]:
    """Layer → root mean square of the cosine scored by teaching signals drawn at random.

    A random signal at a layer's pre-activations still passes through its inputs, which all samples share in part, so
    it scores more than the 1/√n of a random direction among n weights. A recurrent layer's signals reach each other
    through time; there 1/√n stands. The generator is a function of (seed, layer, step): no state is kept.
    """
    if isinstance(network, RecurrentNetwork):
        return {
            layer: torch.tensor(
                sum(gradient.numel() for gradient in of_layer.values()) ** -0.5, device=batch.inputs.device
            )
            for layer, of_layer in gradients.items()
        }
    found: dict[str, Tensor] = {}
    layers = weights_by_layer(network)
    weights = [weight for of_layer in layers.values() for weight in of_layer.values()]
    h = batch.inputs
    with undisturbed(network), requiring_gradients(weights):
        for layer in network.layers:
            a = layer.affine(h.detach())
            of_layer = gradients.get(layer.name)
            if of_layer is not None:
                wanted = [layers[layer.name][name] for name in of_layer]
                generator = generator_for(seed, f"diagnostics/{layer.name}/{step}", a.device)
                squares = []
                for _ in range(DRAWS):
                    signal = torch.randn(a.shape, generator=generator, dtype=a.dtype, device=a.device)
                    drawn = torch.autograd.grad(a, wanted, signal, retain_graph=True)
                    squares.append(_cosine(drawn, list(of_layer.values())) ** 2)
                found[layer.name] = torch.stack(squares).mean().sqrt()
            h = layer.activate(a.detach())
    return found


def _cosine(ours: list[Tensor] | tuple[Tensor, ...], theirs: list[Tensor]) -> Tensor:
    """In float64, after division by the norms, since products of vanishing numbers are 0."""
    lengths = _length(ours), _length(theirs)
    products = [
        ((a.double() / lengths[0]) * (b.double() / lengths[1])).sum() for a, b in zip(ours, theirs, strict=True)
    ]
    return torch.stack(products).sum()


def _length(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Norm of all of them together."""
    return torch.stack([torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors]).norm()
