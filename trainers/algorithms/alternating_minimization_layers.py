"""One layer as alternating minimization needs it: its prediction, and both gradients of a loss on that prediction.

    a = norm(W h + b)      prediction of the layer's code from the activation below      `predict`
    h = σ(c)               activation of a code: nonlinearity, sign, dropout, pooling     `activate`

Everything is written out, without autograd: a code step makes no graph, and a code's gradient never computes the
weights' gradients beside it. Dropout masks are drawn once a batch, so that a batch's codes have one objective.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.networks.activations import ACTIVATIONS
from trainers.networks.base import Layer
from trainers.networks.convolution import ConvLayer, Pool, as_images
from trainers.networks.dense import DenseLayer
from trainers.products import product

aten = torch.ops.aten
Surrogate = Literal["tanh", "hard_tanh", "identity"]
"""Whose derivative stands for that of a sign or step unit inside a code step."""
Gradients = dict[str, Tensor]


@dataclass(slots=True)
class Prediction:
    """a, and what its gradients need."""

    below: Tensor
    """h as the weights take it: (batch, in) or images."""
    a: Tensor
    z: Tensor
    """W h + b; a itself where there is no norm."""
    mean: Tensor | None = None
    inverse_deviation: Tensor | None = None


@dataclass(slots=True)
class Activated:
    """σ(c), and what its derivative needs."""

    c: Tensor
    s: Tensor
    """After the nonlinearity alone."""
    h: Tensor
    """As passed up."""
    places: Tensor | None = None
    """Of the maxima in their windows, with max-pooling."""


class CodedLayer:
    """A dense or convolutional layer of the network, seen through its code.

    Weights are looked up once: a step on a small network spends as long on attributes of modules as on arithmetic.
    """

    def __init__(self, layer: Layer, surrogate: Surrogate) -> None:
        """Raises TypeError for a layer that is neither dense nor a convolution; specs are refused before."""
        if not isinstance(layer, DenseLayer | ConvLayer):
            raise TypeError(f"codes need dense or convolutional layers; {layer.name} is a {type(layer).__name__}")
        self.layer, self.name, self.surrogate = layer, layer.name, surrogate
        self.weight, self.bias, self.norm, self.dropout = layer.weight, layer.bias, layer.norm, layer.dropout
        self.activation = layer.activation
        self.convolution = layer if isinstance(layer, ConvLayer) else None
        self.pool: Pool | None = layer.pool if isinstance(layer, ConvLayer) else None
        self.passes_sign = isinstance(layer, DenseLayer) and layer.transmit == "sign"
        self.is_plain = self.convolution is None and self.norm is None
        """A matrix and perhaps a bias."""
        self.mask: Tensor | None = None
        """Of dropout, for this batch."""

    # -- upwards ------------------------------------------------------------------------------------------------------

    def predict(self, h: Tensor, *, track: bool = False) -> Prediction:
        """The layer's code from the activation below. `track` moves batch norm's running statistics."""
        weight, norm = self.weight, self.norm
        if self.convolution is not None:
            h = as_images(h)
            z = F.conv2d(h, weight, self.bias, self.convolution.stride, self.convolution.padding)
        else:
            h = h if h.dim() == 2 else h.flatten(1)
            z = product(h, weight, self.bias)
        if z.dtype != weight.dtype:
            z = z.to(weight.dtype)  # codes stay in the weights' precision under autocast
        if norm is None:
            return Prediction(h, z, z)
        by_batch = self._normalises_by_batch(z)
        tracked = track or not by_batch
        a, mean, inverse_deviation = aten.native_batch_norm(
            z,
            norm.weight,
            norm.bias,
            norm.running_mean if tracked else None,
            norm.running_variance if tracked else None,
            by_batch,
            norm.momentum,
            norm.epsilon,
        )
        return Prediction(h, a, z, mean, inverse_deviation)

    def draw_mask(self, c: Tensor) -> None:
        """Dropout's mask for this batch; call it once before the batch is activated for the first time."""
        if self.dropout is None:
            return
        shape = self._pooled(c)[0].shape if self.pool is not None else c.shape
        self.mask = self.dropout(torch.ones(shape, dtype=c.dtype, device=c.device))

    def activate(self, c: Tensor) -> Activated:
        """σ(c)."""
        s = self.activation.function(c)
        h, places = s, None
        if self.pool is not None:
            h, places = self._pooled(s)
        elif self.passes_sign:
            h = ACTIVATIONS["sign"].function(s)
        if self.mask is not None:
            h = h * self.mask
        return Activated(c, s, h, places)

    # -- downwards ----------------------------------------------------------------------------------------------------

    def to_code(self, activated: Activated, d_h: Tensor) -> Tensor:
        """∂/∂c from ∂/∂h: through dropout, pooling and the nonlinearity, straight through a transmitted sign."""
        d = d_h if d_h.shape == activated.h.shape else d_h.reshape(activated.h.shape)
        if self.mask is not None:
            d = d * self.mask
        if self.pool is not None:
            d = self._unpooled(activated, d, self.pool)
        return self._times_derivative(d, activated)

    def to_input(self, prediction: Prediction, d_a: Tensor) -> Tensor:
        """∂/∂h of the activation below from ∂/∂a: through norm and weights (W_lᵀ). No weight gradient is computed."""
        d_z = d_a if prediction.z is prediction.a else self._through_norm(prediction, d_a, weights=False)[0]
        if self.convolution is not None:
            return self._convolution_backward(prediction, d_z, (True, False, False))[0].to(d_a.dtype)
        d_h = product(d_z, self.weight.t())
        return d_h if d_h.dtype == d_a.dtype else d_h.to(d_a.dtype)

    def weight_gradients(self, prediction: Prediction, d_a: Tensor) -> Gradients:
        """Of weight, bias and norm, by their names in the network, from ∂/∂a."""
        name, found, d_z = self.name, Gradients(), d_a
        if self.norm is not None:
            d_z, d_scale, d_shift = self._through_norm(prediction, d_a, weights=True)
            if self.norm.weight is not None:
                found[f"{name}.norm.weight"], found[f"{name}.norm.bias"] = d_scale, d_shift
        if self.convolution is not None:
            _, d_weight, d_bias = self._convolution_backward(prediction, d_z, (False, True, self.bias is not None))
            d_weight = d_weight.contiguous()  # fused optimizers read gradients in the weights' memory order
        else:
            d_weight, d_bias = product(d_z.t(), prediction.below.t()), d_z.sum(0) if self.bias is not None else d_z
        found[f"{name}.weight"] = d_weight.to(self.weight.dtype)
        if self.bias is not None:
            found[f"{name}.bias"] = d_bias.to(self.bias.dtype)
        return found

    # -- their parts --------------------------------------------------------------------------------------------------

    def _times_derivative(self, d: Tensor, activated: Activated) -> Tensor:
        name = self.activation.name
        if name in ("sign", "step"):
            # A step is half a sign, shifted: so is its surrogate.
            return d * surrogate_derivative(activated.c, self.surrogate) * (1.0 if name == "sign" else 0.5)
        return self.activation.times_derivative(d, activated.c, activated.s)

    def _normalises_by_batch(self, z: Tensor) -> bool:
        # As BatchNorm has it: a single value a feature has no variance.
        return self.layer.training and z.numel() > z.shape[1]

    def _through_norm(self, prediction: Prediction, d_a: Tensor, *, weights: bool) -> tuple[Tensor, Tensor, Tensor]:
        norm = self.norm
        if norm is None:
            raise AssertionError(f"{self.name} has no norm")
        learns = weights and norm.weight is not None
        return aten.native_batch_norm_backward(
            d_a,
            prediction.z,
            norm.weight,
            norm.running_mean,
            norm.running_variance,
            prediction.mean,
            prediction.inverse_deviation,
            self._normalises_by_batch(prediction.z),
            norm.epsilon,
            [True, learns, learns],
        )

    def _convolution_backward(
        self, prediction: Prediction, d_z: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        layer = self.convolution
        if layer is None:
            raise AssertionError(f"{self.name} is no convolution")
        stride, padding = [layer.stride] * 2, [layer.padding] * 2
        shape = [layer.weight.shape[0]] if wanted[2] else None
        # No autocast reaches the backward operator: its operands must agree.
        below, weight = prediction.below.to(d_z.dtype), layer.weight.to(d_z.dtype)
        return aten.convolution_backward(
            as_images(d_z), below, weight, shape, stride, padding, [1, 1], False, [0, 0], 1, list(wanted)
        )

    def _pooled(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        pool = self.pool
        if pool is None:
            return s, None
        if pool.kind == "max":
            return aten.max_pool2d_with_indices(s, [pool.size] * 2, [pool.stride] * 2, [pool.padding] * 2)
        return pool(s), None

    @staticmethod
    def _unpooled(activated: Activated, d: Tensor, pool: Pool) -> Tensor:
        size, stride, padding = [pool.size] * 2, [pool.stride] * 2, [pool.padding] * 2
        if activated.places is not None:
            return aten.max_pool2d_with_indices_backward(
                d, activated.s, size, stride, padding, [1, 1], False, activated.places
            )
        return aten.avg_pool2d_backward(d, activated.s, size, stride, padding, False, False, None)


def surrogate_derivative(c: Tensor, surrogate: Surrogate) -> Tensor:
    """Of a sign unit at c: where a code should still be able to cross the step."""
    if surrogate == "tanh":
        return 1 - torch.tanh(c).square()
    if surrogate == "hard_tanh":
        return (c.abs() <= 1).to(c.dtype)
    return torch.ones_like(c)
