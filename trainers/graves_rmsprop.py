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

SMALLEST_ALONE = 4096
"""Weights of fewer numbers (biases) are moved together."""


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

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights: list[Tensor] = [weight for weight in group["params"] if weight.grad is not None]
            # A processor goes weight by weight, from end to end while it is in the cache: line by line over all of them
            # it would wait for memory at every line. Elsewhere, and for what is small, a call a line is faster.
            on_cpu = all(weight.device.type == "cpu" for weight in weights)
            alone = [weight for weight in weights if on_cpu and weight.numel() >= SMALLEST_ALONE]
            rest = [weight for weight in weights if not on_cpu or weight.numel() < SMALLEST_ALONE]
            for together in [*([weight] for weight in alone), *([rest] if rest else [])]:
                self._move(together, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state_of(weight) for weight in weights]
        gradients: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        squares = [state["square_average"] for state in states]
        averages = [state["gradient_average"] for state in states]
        changes = [state["change"] for state in states]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        fresh = 1 - group["decay"]
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=fresh)
        torch._foreach_lerp_(averages, gradients, fresh)
        scale = torch._foreach_addcmul(squares, averages, averages, value=-1)
        # The variance cannot be negative, but its difference of two sums can, by rounding; ε covers that.
        torch._foreach_add_(scale, group["epsilon"])
        torch._foreach_rsqrt_(scale)
        torch._foreach_mul_(scale, gradients)
        # Δ ← μ Δ + (1 − dampening) g′ and w ← w − lr Δ, in one pass over memory.
        torch._fused_sgd_(
            weights,
            scale,
            changes,
            momentum=group["momentum"],
            dampening=1 + group["lr"],
            lr=-1.0,
            weight_decay=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    def _state_of(self, weight: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            for name in ("square_average", "gradient_average", "change"):
                state[name] = torch.zeros_like(weight)
        return state
