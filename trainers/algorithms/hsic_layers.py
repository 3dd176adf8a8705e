"""One layer forwards, and back from ∂L/∂Z to its own weights and no further: all that HSIC asks of a network.

A plain dense layer, with or without batch norm, has its gradient written out; any other layer (a convolution, a
residual block) is differentiated by autograd within the layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.algorithms.hsic_workspace import Workspace
from trainers.networks.base import BatchNorm, Layer
from trainers.networks.dense import DenseLayer
from trainers.products import product as multiplied

_ops = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Backward:
    """What came of ∂L/∂Z: gradients by the layer's own names, and the teaching signal ∂L/∂a, (batch, *shape)."""

    gradients: dict[str, Tensor]
    signal: Tensor


@dataclass(frozen=True, slots=True)
class Ran:
    """A layer that has run: its activation z, (batch, *shape), and the way back, which may write over ∂L/∂Z."""

    z: Tensor
    back: Callable[[Tensor], Backward]
    unbounded: Tensor
    """0, or NaN where a pre-activation was not finite: a bounded nonlinearity would hide it."""
    descended: Callable[[float, float, Tensor | None], Tensor | None] | None = None
    """z once the weights have moved by `descend(rate, decay)`, without the product with them where that is cheaper: by
    the batch's Gram matrix, which is given where it is known. None: not cheaper. Only after `back`."""


def run_layer(layer: Layer, h: Tensor, workspace: Workspace | None = None, side: int = 0) -> Ran:
    """The layer on its input h, which is taken as a constant.

    What is returned lies in the workspace and holds until the next layer runs, z until the next but one does: give
    neighbouring layers the sides 0 and 1.
    """
    if _plain(layer):
        return _run_dense(layer, h, workspace or Workspace(keep=False), side)
    return _run_by_autograd(layer, h)


def _plain(layer: Layer) -> TypeGuard[DenseLayer]:
    return isinstance(layer, DenseLayer) and layer.dropout is None and layer.transmit == "value"


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


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


@torch.no_grad()
def run_again(layer: Layer, h: Tensor, workspace: Workspace | None = None, side: int = 0) -> Tensor:
    """The activation once more, the layer's weights having moved; statistics are not counted a second time."""
    if _plain(layer) and not _autocast(h):
        workspace = workspace or Workspace(keep=False)
        product = _product(layer, h.flatten(1), workspace, "product again")
        return _activation_again(layer, product, workspace, side)
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


@contextmanager
def settling(modules: Sequence[nn.Module], step: int) -> Iterator[None]:
    """Batch norms of evaluated modules go by the batch's statistics, and their running ones become the average over
    the steps 0 to `step`, forgetting what was before: those of the weights as they are."""
    norms = [each for module in modules for each in module.modules() if isinstance(each, BatchNorm)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.training, norm.momentum = True, 1 / (step + 1)
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum


# -- a dense layer, written out ---------------------------------------------------------------------------------------


@torch.no_grad()
def _run_dense(layer: DenseLayer, h: Tensor, workspace: Workspace, side: int) -> Ran:
    x = h.flatten(1)
    product = _product(layer, x, workspace, "product")
    norm = layer.norm
    statistics: tuple[Tensor | None, Tensor | None] = (None, None)
    batch_statistics = False
    mean = inverse_deviation = None
    if norm is None:
        a, witness = product, product.sum()
    else:
        # As BatchNorm.forward, and what the way back needs of it besides.
        if norm.track or not norm.training:
            statistics = (norm.running_mean, norm.running_variance)
        batch_statistics = norm.training and product.numel() > product.shape[1]
        a, mean, inverse_deviation = _normalised(norm, product, statistics, batch_statistics, workspace, "a")
        witness = mean.sum() if batch_statistics else a.sum()
    z = _activated(layer, a, workspace, f"z{side}")
    below: Tensor | None = None

    def back(gradient: Tensor) -> Backward:
        with torch.no_grad():  # as a decorator it would cost more than a small product
            return gone_back(gradient)

    def gone_back(gradient: Tensor) -> Backward:
        nonlocal below
        signal = _through_nonlinearity(layer, gradient.to(z.dtype), a, z)
        gradients: dict[str, Tensor] = {}
        below = signal
        if norm is not None:
            affine = norm.weight is not None
            below, of_scale, of_shift = _ops.native_batch_norm_backward(
                signal.contiguous(), product, norm.weight, *statistics, mean, inverse_deviation, batch_statistics,
                norm.epsilon, [True, affine, affine],
            )  # fmt: skip
            if affine:
                gradients |= {"norm.weight": of_scale, "norm.bias": of_shift}
        weight = layer.weight
        if below.dtype == weight.dtype and not _autocast(x):
            # By the layer's name: in layer order parallel all gradients wait for the last.
            room = workspace.room(f"gradient of {layer.name}", tuple(weight.shape), weight)
            gradients["weight"] = multiplied(below.t(), x.t(), out=room)
        else:
            gradients["weight"] = (below.t() @ x).to(weight.dtype)
        if layer.bias is not None:
            gradients["bias"] = below.sum(0).to(layer.bias.dtype)
        return Backward(gradients, signal)

    def descended(rate: float, decay: float, gram: Tensor | None) -> Tensor | None:
        """W' = (1 − rate·decay) W − rate Gᵀx, G = ∂L/∂(Wx), so that W'x = (1 − rate·decay) Wx − rate (x xᵀ) G.

        What is the same for all samples, the bias and the mean of x, goes in the norm; so x xᵀ may be centred.
        """
        m, fan_in = x.shape
        if not batch_statistics or below is None or _autocast(x):
            return None
        if (gram is None) * fan_in + len(layer.weight) > 0.8 * fan_in * len(layer.weight) / m:
            return None
        with torch.no_grad():
            if gram is None:
                gram = multiplied(x, x, out=workspace.room("gram", (m, m), x))
            change = multiplied(gram, below.t(), out=workspace.room("change", tuple(product.shape), product))
            moved = product.mul_(1 - rate * decay).sub_(change, alpha=rate)  # the way back has been gone
            return _activation_again(layer, moved, workspace, side)

    return Ran(z, back, witness * 0, descended)


def _product(layer: DenseLayer, x: Tensor, workspace: Workspace, name: str) -> Tensor:
    """W x + b."""
    weight, bias = layer.weight, layer.bias
    if _autocast(x) or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    return multiplied(x, weight, bias, out=workspace.room(name, (len(x), len(weight)), weight))


def _normalised(
    norm: BatchNorm,
    product: Tensor,
    statistics: tuple[Tensor | None, Tensor | None],
    batch_statistics: bool,
    workspace: Workspace,
    name: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised values, and the batch's mean and inverse deviation where it is by those."""
    given = (product, norm.weight, norm.bias, *statistics, batch_statistics, norm.momentum, norm.epsilon)
    if not batch_statistics or _autocast(product) or product.device.type != "cpu":
        return _ops.native_batch_norm(*given)
    mean, inverse_deviation = product.new_empty(product.shape[1]), product.new_empty(product.shape[1])
    room = workspace.room(name, tuple(product.shape), product)
    _ops.native_batch_norm.out(*given, out=room, save_mean=mean, save_invstd=inverse_deviation)
    return room, mean, inverse_deviation


def _activation_again(layer: DenseLayer, product: Tensor, workspace: Workspace, side: int) -> Tensor:
    """s(BN(product)), by the batch's statistics and leaving no trace in the running ones."""
    norm, a = layer.norm, product
    if norm is not None:
        batch_statistics = norm.training and product.numel() > product.shape[1]
        statistics = (None, None) if batch_statistics else (norm.running_mean, norm.running_variance)
        a = _normalised(norm, product, statistics, batch_statistics, workspace, "a")[0]
    return _activated(layer, a, workspace, f"h{side}")


def _activated(layer: DenseLayer, a: Tensor, workspace: Workspace, name: str) -> Tensor:
    if layer.activation.name == "relu" and not _autocast(a):
        return torch.clamp_min(a, 0, out=workspace.room(name, tuple(a.shape), a))
    return layer.activation.function(a)


def _through_nonlinearity(layer: DenseLayer, gradient: Tensor, a: Tensor, z: Tensor) -> Tensor:
    """∂L/∂a of ∂L/∂z, in its place."""
    if layer.activation.name == "relu":
        # One pass over memory: a comparison that makes numbers, and the product, are six times as slow.
        return _ops.threshold_backward.grad_input(gradient, z, 0, grad_input=gradient)
    return gradient.mul_(layer.activation.derivative(a, z))


# -- any other layer --------------------------------------------------------------------------------------------------


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
