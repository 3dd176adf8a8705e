"""Nonlinearities by name, each with its derivative written out for algorithms that need no autograd."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

ActivationName = Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "elu", "identity", "sign", "step"]
Function = Callable[[Tensor], Tensor]
aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Activation:
    """s, and s' from the pre-activation a and the activation h = s(a), whichever is cheaper."""

    name: str
    function: Function
    derivative: Callable[[Tensor, Tensor], Tensor]
    differentiable: bool = True
    saturates: bool = False
    """Bounded on both sides: units beyond 0.95 of their range hardly learn."""
    gain: float = 1.0
    """For Kaiming initialisation."""
    at_once: Callable[[Tensor, Tensor], Tensor] | None = None
    """signal ⊙ s' from the signal and h."""

    def __call__(self, a: Tensor) -> Tensor:
        return self.function(a)

    def times_derivative(self, signal: Tensor, a: Tensor, h: Tensor) -> Tensor:
        """signal ⊙ s', in one operation where torch has one; for identity the signal itself."""
        return signal * self.derivative(a, h) if self.at_once is None else self.at_once(signal, h)


def _sign(a: Tensor) -> Tensor:
    # sign(0) = -1, as in difference target propagation's discrete network.
    return torch.where(a > 0, 1.0, -1.0).to(a.dtype)


def _gelu_derivative(a: Tensor, h: Tensor) -> Tensor:
    cumulative = 0.5 * (1 + torch.erf(a * 0.5**0.5))
    return cumulative + a * torch.exp(-0.5 * a * a) * (2 * torch.pi) ** -0.5


ACTIVATIONS: dict[str, Activation] = {
    each.name: each
    for each in (
        Activation("identity", lambda a: a, lambda a, h: torch.ones_like(a), at_once=lambda signal, h: signal),
        Activation("sigmoid", torch.sigmoid, lambda a, h: h * (1 - h), saturates=True, at_once=aten.sigmoid_backward),
        Activation("tanh", torch.tanh, lambda a, h: 1 - h * h, saturates=True, gain=5 / 3, at_once=aten.tanh_backward),
        Activation(
            "relu",
            torch.relu,
            lambda a, h: (a > 0).to(a.dtype),
            gain=2**0.5,
            at_once=lambda signal, h: aten.threshold_backward(signal, h, 0),
        ),
        Activation(
            "leaky_relu",
            lambda a: F.leaky_relu(a, 0.01),
            # Not `where(…, 1.0, 0.01)`: scalars come out in float32, and 0.01 is no float32.
            lambda a, h: torch.ones_like(a).masked_fill_(a <= 0, 0.01),
            gain=(2 / (1 + 0.01**2)) ** 0.5,
        ),
        Activation("gelu", F.gelu, _gelu_derivative, gain=2**0.5),
        Activation("elu", F.elu, lambda a, h: torch.where(a > 0, torch.ones_like(a), h + 1), gain=2**0.5),
        # Their derivative is 0 almost everywhere: only algorithms that train non-differentiable units take these.
        Activation("sign", _sign, lambda a, h: torch.zeros_like(a), differentiable=False),
        Activation("step", lambda a: (a > 0).to(a.dtype), lambda a, h: torch.zeros_like(a), differentiable=False),
    )
}
