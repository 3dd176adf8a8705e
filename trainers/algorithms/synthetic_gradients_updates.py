"""Updates of some of the weights at a time: a module's, as soon as their gradients are there.

The gradients and weights of one module are still in the processor's cache then, and its gradients' memory is free for
the next module's. Over a whole network at once the same Adam step waits for memory: on 784-3x256-10 it takes twice as
long. torch's own optimizers would spend more time around a call than in it, so Adam's fused kernel is called directly;
its state is kept under the same names as in `trainers.optimizers.Optimizer`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.optimizers import Optimizer, OptimizerOptions, scheduled_rate


def updates_of(parameters: Mapping[str, nn.Parameter], options: OptimizerOptions) -> "Optimizer | FusedAdam":
    """What moves these weights by `step_with`, all or some of them; norms are not clipped here."""
    options = options.model_copy(update={"clip_norm": None})
    if options.optimizer in ("adam", "adamw"):
        return FusedAdam(parameters, options)
    return Optimizer(parameters, options)


class FusedAdam:
    """Adam and AdamW, as torch's fused ones to the last bit."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], options: OptimizerOptions) -> None:
        self.parameters, self.options = dict(parameters), options
        self._kernel = torch._fused_adamw_ if options.optimizer == "adamw" else torch._fused_adam_
        self._state: dict[str, dict[str, Tensor]] = {}
        """Weight → exp_avg and exp_avg_sq in its shape, and step; made when it first moves."""

    def step_with(self, gradients: Mapping[str, Tensor], progress: float) -> None:
        """Move the weights that have a gradient, at the rate scheduled for `progress` of the run; within `no_grad`."""
        decay = self.options.weight_decay
        if not decay:
            self._move(gradients, progress, decay)
            return
        matrices = {name for name in gradients if self.parameters[name].dim() > 1}
        self._move({name: each for name, each in gradients.items() if name in matrices}, progress, decay)
        self._move({name: each for name, each in gradients.items() if name not in matrices}, progress, 0.0)

    def _move(self, gradients: Mapping[str, Tensor], progress: float, decay: float) -> None:
        if not gradients:
            return
        weights: list[Tensor] = [self.parameters[name] for name in gradients]
        # The kernel goes through memory in order, so a gradient in another order (channels last) is brought into it.
        given = [
            each if each.stride() == weight.stride() else torch.empty_like(weight).copy_(each)
            for weight, each in zip(weights, gradients.values(), strict=True)
        ]
        if self.options.clip_value is not None:
            given = [each.clamp(-self.options.clip_value, self.options.clip_value) for each in given]
        states = [self._state_of(name) for name in gradients]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        self._kernel(
            weights,
            given,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=scheduled_rate(self.options, progress),
            beta1=self.options.beta1,
            beta2=self.options.beta2,
            weight_decay=decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, name: str) -> dict[str, Tensor]:
        if name not in self._state:
            weight = self.parameters[name]
            self._state[name] = {
                "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                "exp_avg": torch.zeros_like(weight, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(weight, memory_format=torch.preserve_format),
            }
        return self._state[name]

    def state_dict(self) -> dict[str, Any]:
        """Weight name → its state, of those that have moved."""
        return {name: dict(self._state[name]) for name in self.parameters if name in self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = {
            name: {key: value.to(self.parameters[name].device) for key, value in values.items()}
            for name, values in state.items()
        }
