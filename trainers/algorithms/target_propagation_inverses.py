"""The approximate inverses of difference target propagation, and the losses that train them.

An inverse is one layer of its own, g_l(h_l) = s̄(V_l h_l + c_l) ≈ h_{l-1}. Its losses touch that layer alone, so
their gradients are written out below; no derivative passes from one layer to another.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trainers.networks.activations import ACTIVATIONS
from trainers.networks.dense import DenseLayer, affine_and_activation
from trainers.networks.initialization import initialize
from trainers.products import product
from trainers.streams import StreamBook

Gradients = dict[str, Tensor]


class Inverse:
    """g_l of one layer: from that layer's activation, (batch, width_l), to the one below, (batch, width_{l-1})."""

    def __init__(
        self, layer: DenseLayer, activation: str, *, sees_sign: bool, initialization: str, streams: StreamBook
    ) -> None:
        self.name = layer.name
        self.activation, self.sees_sign = ACTIVATIONS[activation], sees_sign
        drawn = torch.empty(layer.weight.shape[1], layer.weight.shape[0])
        initialize(drawn, initialization, self.activation.gain, streams.once(f"feedback_weights/{layer.name}"))
        self.weight = nn.Parameter(drawn.to(layer.weight))  # V_l
        self.bias = nn.Parameter(layer.weight.new_zeros(len(drawn)))  # c_l

    def seen(self, h: Tensor) -> Tensor:
        """What V_l is multiplied with: h, or its sign in the discrete network."""
        return ACTIVATIONS["sign"](h) if self.sees_sign else h

    def activation_of(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Pre-activation, or what stands for it, and g."""
        return affine_and_activation(seen, self.weight, self.bias, self.activation)

    def __call__(self, h: Tensor) -> Tensor:
        return self.activation_of(self.seen(h))[1]

    def parameters(self) -> dict[str, nn.Parameter]:
        return {f"{self.name}.weight": self.weight, f"{self.name}.bias": self.bias}

    def gradients(self, delta: Tensor, seen: Tensor) -> Gradients:
        """From ∂loss/∂pre-activation, (batch, width_{l-1})."""
        return {
            f"{self.name}.weight": product(delta.t(), seen.t()).to(self.weight.dtype),
            f"{self.name}.bias": delta.sum(0).to(self.bias.dtype),
        }


def autoencoder_loss(inverse: Inverse, corrupted: Tensor, above: Tensor) -> tuple[Tensor, Gradients]:
    """‖g_l(f_l(h_{l-1} + ε)) − (h_{l-1} + ε)‖² (eq. 13), its sum over the batch, and the gradients of its mean.

    corrupted: h_{l-1} + ε. above: f_l of it, a constant.
    """
    seen = inverse.seen(above)
    a, g = inverse.activation_of(seen)
    error = g - corrupted
    delta = inverse.activation.times_derivative(error, a, g).mul_(2 / len(error))
    return error.square().sum(), inverse.gradients(delta, seen)


def local_difference_reconstruction_loss(
    inverse: Inverse, noise: Tensor, above: Tensor, above_corrupted: Tensor, noise_above: Tensor
) -> tuple[Tensor, Gradients]:
    """−2⟨ε, g(f(h+ε)) − g(f(h))⟩ + ‖g(f(h)+ε′) − g(f(h))‖² (arXiv 2201.13415): g's Jacobian → f's, transposed.

    noise: ε, (batch, width_{l-1}). above: f(h). above_corrupted: f(h+ε). noise_above: ε′, (batch, width_l).
    """
    seen = [inverse.seen(each) for each in (above_corrupted, above, above + noise_above)]
    a, g = zip(*(inverse.activation_of(each) for each in seen), strict=True)
    followed, moved = g[0] - g[1], g[2] - g[1]
    loss = moved.square().sum() - 2 * (noise * followed).sum()
    at_g = (-2 * noise, 2 * (noise - moved), 2 * moved)  # ∂loss/∂g of the three evaluations
    deltas = [
        inverse.activation.times_derivative(upstream, a_i, g_i) / len(noise)
        for upstream, a_i, g_i in zip(at_g, a, g, strict=True)
    ]
    return loss, inverse.gradients(torch.cat(deltas), torch.cat(seen))


def propagate_targets(
    inverses: Mapping[int, Callable[[Tensor], Tensor]], h: Sequence[Tensor], top_target: Tensor, correction: str
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Targets ĥ_l from `top_target` downwards to ĥ_1, and g_l(h_l) by layer.

    h[l] is layer l's activation, h[0] the input; `inverses` holds g_l of every layer above the first, up to the
    top target's.
    """
    top = max(inverses, default=1)
    target, back = {top: top_target}, {}
    for l in sorted(inverses, reverse=True):
        if correction == "none":
            target[l - 1] = inverses[l](target[l])  # plain target propagation, for comparison
        else:
            back[l] = inverses[l](h[l])
            # Grouped so that ĥ_l = h_l leaves h_{l-1} untouched to the last bit; (h − g(h)) + g(ĥ) would not. For
            # the same reason both are calls of one shape: rows of one larger product may be summed in another order.
            target[l - 1] = h[l - 1] + (inverses[l](target[l]) - back[l])  # eq. 15
    return target, back
