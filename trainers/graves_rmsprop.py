"""RMSprop as Graves wrote it (arXiv 1308.0850, eq. 38-45): centred, and with its constant inside the root.

    n ← ρ n + (1 − ρ) g²        average of squares
    ḡ ← ρ ḡ + (1 − ρ) g         average of gradients
    Δ ← μ Δ − α g / √(n − ḡ² + ε)
    w ← w + Δ

torch.optim.RMSprop adds ε outside the root, which gives a weight whose gradient is tiny a step of another size.
Difference target propagation's published settings (arXiv 1412.7525) belong to this form with ρ = 0.95, ε = 1e-3.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class GravesRMSprop(torch.optim.Optimizer):
    """State of a weight: `square_average`, `gradient_average`, `change`, each of the weight's shape."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.9,
        decay: float = 0.95,
        epsilon: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "decay": decay,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(parameters, defaults)
        self._scratch: dict[tuple[Any, ...], Tensor] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """One weight from end to end: a kernel for each line over all weights would wait for memory at every line."""
        state = self._state_of(weight)
        square, average, change = state["square_average"], state["gradient_average"], state["change"]
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        fresh = 1 - group["decay"]
        square.mul_(group["decay"]).addcmul_(gradient, gradient, value=fresh)
        average.lerp_(gradient, fresh)
        # The variance cannot be negative, but its difference of two sums can, by rounding; ε covers that.
        scale = torch.addcmul(square, average, average, value=-1, out=self._scratch_of(weight))
        scale.add_(group["epsilon"]).rsqrt_()
        change.mul_(group["momentum"]).addcmul_(gradient, scale, value=-group["lr"])
        weight.add_(change)

    def _scratch_of(self, weight: Tensor) -> Tensor:
        """Memory that is used anew at every step: asked for anew, it would have to be mapped anew."""
        key = (weight.shape, weight.dtype, weight.device)
        if key not in self._scratch:
            self._scratch[key] = torch.empty_like(weight)
        return self._scratch[key]

    def _state_of(self, weight: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            for name in ("square_average", "gradient_average", "change"):
                state[name] = torch.zeros_like(weight)
        return state
