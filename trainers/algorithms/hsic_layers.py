"""One layer forwards, and back from ∂L/∂Z to its own weights and no further: all that HSIC asks of a network.

A plain dense layer, with or without batch norm, has its gradient written out; any other layer (a convolution, a
residual block) is differentiated by autograd within the layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.networks.base import BatchNorm, Layer
from trainers.networks.dense import DenseLayer


@dataclass(frozen=True, slots=True)
class Backward:
    """What came of ∂L/∂Z: gradients by the layer's own names, and the teaching signal ∂L/∂a, (batch, *shape)."""

    gradients: dict[str, Tensor]
    signal: Tensor


@dataclass(frozen=True, slots=True)
class Ran:
    """A layer that has run: its activation z, (batch, *shape), and the way back."""

    z: Tensor
    back: Callable[[Tensor], Backward]
    unbounded: Tensor
    """0, or NaN where a pre-activation was not finite: a bounded nonlinearity would hide it."""


def run_layer(layer: Layer, h: Tensor) -> Ran:
    """The layer on its input h, which is taken as a constant."""
    if isinstance(layer, DenseLayer) and layer.dropout is None and layer.transmit == "value":
        return _run_dense(layer, h)
    return _run_by_autograd(layer, h)


@torch.no_grad()
def descend(layer: Layer, gradients: dict[str, Tensor], rate: float, decay: float) -> None:
    """One step of plain gradient descent in place, `decay` on matrices and kernels only: as the optimizer sgd, at a
    fraction of its fixed cost, which a step has once a layer."""
    weights = dict(layer.named_parameters())
    for name, gradient in gradients.items():
        weight = weights[name]
        if decay and weight.dim() > 1:
            weight.mul_(1 - rate * decay)
        weight.add_(gradient, alpha=-rate)


def run_again(layer: Layer, h: Tensor) -> Tensor:
    """The activation once more, the layer's weights having moved; statistics are not counted a second time."""
    with untracked([layer]):
        return layer(h)


@contextmanager
def untracked(layers: Sequence[Layer]) -> Iterator[None]:
    """Batch norms use the batch's statistics, and do not keep them."""
    norms = [module for layer in layers for module in layer.modules() if isinstance(module, BatchNorm)]
    before = [norm.track for norm in norms]
    for norm in norms:
        norm.track = False
    try:
        yield
    finally:
        for norm, track in zip(norms, before, strict=True):
            norm.track = track


def _run_dense(layer: DenseLayer, h: Tensor) -> Ran:
    x = h.flatten(1)
    product = F.linear(x, layer.weight, layer.bias)
    norm = layer.norm
    if norm is None:
        a, witness = product, product.sum()
    else:
        # As BatchNorm.forward, and what the way back needs of it besides.
        tracked = norm.track or not norm.training
        statistics = (norm.running_mean, norm.running_variance) if tracked else (None, None)
        batch_statistics = norm.training and product.numel() > product.shape[1]
        a, mean, inverse_deviation = torch.ops.aten.native_batch_norm(
            product, norm.weight, norm.bias, *statistics, batch_statistics, norm.momentum, norm.epsilon
        )
        witness = mean.sum() if batch_statistics else a.sum()
    z = layer.activation.function(a)

    def back(gradient: Tensor) -> Backward:
        signal = gradient.to(z.dtype) * layer.activation.derivative(a, z)
        gradients: dict[str, Tensor] = {}
        below = signal
        if norm is not None:
            affine = norm.weight is not None
            below, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
                signal.contiguous(), product, norm.weight, *statistics, mean, inverse_deviation, batch_statistics,
                norm.epsilon, [True, affine, affine],
            )  # fmt: skip
            if affine:
                gradients |= {"norm.weight": of_scale, "norm.bias": of_shift}
        gradients["weight"] = (below.t() @ x).to(layer.weight.dtype)
        if layer.bias is not None:
            gradients["bias"] = below.sum(0).to(layer.bias.dtype)
        return Backward(gradients, signal)

    return Ran(z, back, witness * 0)


def _run_by_autograd(layer: Layer, h: Tensor) -> Ran:
    with torch.enable_grad():
        a = layer.affine(h.detach())
        z = layer.activate(a)
    weights = dict(layer.named_parameters())

    def back(gradient: Tensor) -> Backward:
        signal, *found = torch.autograd.grad(
            z, [a, *weights.values()], gradient.view_as(z).to(z.dtype), allow_unused=True
        )
        gradients = {name: each for name, each in zip(weights, found, strict=True) if each is not None}
        return Backward(gradients, torch.zeros_like(a) if signal is None else signal)

    return Ran(z.detach(), back, a.detach().sum() * 0)
