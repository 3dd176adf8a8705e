"""Optimizers by name, with learning-rate schedules and clipping: hyperparameters shared by the algorithms.

State is kept by weight name, so that a checkpoint is readable and two modules may share a file. torch makes it
lazily; loading therefore also works before the first step.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.graves_rmsprop import GravesRMSprop
from trainers.spec import StrictModel

OptimizerName = Literal["sgd", "momentum", "nesterov", "rmsprop", "graves_rmsprop", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "cosine", "one_cycle"]


class OptimizerOptions(StrictModel):
    """Mixed into an algorithm's hyperparameters."""

    optimizer: OptimizerName = Field(default="adam", description="how a gradient becomes an update")
    learning_rate: float = Field(default=0.001, gt=0, le=1000, json_schema_extra={"x-symbol": "α"})
    momentum: float = Field(default=0.9, ge=0, lt=1, description="for momentum, nesterov and both forms of rmsprop")
    beta1: float = Field(
        default=0.9, ge=0, lt=1, description="Adam's average of gradients", json_schema_extra={"x-symbol": "β₁"}
    )
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="Adam's average of squares", json_schema_extra={"x-symbol": "β₂"}
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="on weight matrices and kernels; biases and norms are left alone"
    )
    schedule: ScheduleName = Field(default="constant", description="of the learning rate over the run")
    schedule_milestones: list[float] = Field(
        default=[0.5, 0.75],
        description="for step: shares of the run at which the rate is multiplied by schedule_factor",
    )
    schedule_factor: float = Field(default=0.1, gt=0, le=1)
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of the run over which the rate grows from 0")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of all gradients together")
    clip_value: float | None = Field(default=None, gt=0, description="largest absolute gradient of a weight")


def scheduled_rate(options: OptimizerOptions, progress: float) -> float:
    """Learning rate at `progress` (0 to 1) of the run."""
    rate = options.learning_rate
    if options.warmup and progress < options.warmup:
        return rate * (progress / options.warmup) if progress else rate * 1e-3
    if options.schedule == "step":
        return rate * options.schedule_factor ** sum(progress >= at for at in options.schedule_milestones)
    if options.schedule == "cosine":
        rest = (progress - options.warmup) / (1 - options.warmup)
        return rate * 0.5 * (1 + math.cos(math.pi * rest))
    if options.schedule == "one_cycle":
        # Smith & Topin 2018 (arXiv 1708.07120): up to the rate over the first 30 %, then down to a 10,000th.
        if progress < 0.3:
            return rate * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / 0.3)))
        return rate * (1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7)))
    return rate


class Optimizer:
    """A torch optimizer over named weights, driven by the moment of the run."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], options: OptimizerOptions) -> None:
        self.parameters, self.options = dict(parameters), options
        self._torch = _make(self.parameters, options)
        self._list = list(self.parameters.values())
        self._rate = options.learning_rate

    def step(self, progress: float) -> None:
        """Update from the weights' `.grad`, at the rate scheduled for `progress`; gradients are dropped after."""
        options = self.options
        if options.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._list, options.clip_norm)
        if options.clip_value is not None:
            torch.nn.utils.clip_grad_value_(self._list, options.clip_value)
        rate = scheduled_rate(options, progress)
        if rate != self._rate:
            self._rate = rate
            for group in self._torch.param_groups:
                group["lr"] = rate
        self._torch.step()
        for weight in self._list:  # zero_grad() takes twenty times as long
            weight.grad = None

    def step_with(self, gradients: Mapping[str, Tensor], progress: float) -> None:
        """Update from hand-written gradients by weight name."""
        for name, gradient in gradients.items():
            weight = self.parameters[name]
            # Fused optimizers go through memory in order, so a kernel's gradient in another order (channels last, as
            # convolutions leave it) would update the wrong weights.
            weight.grad = gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)
        self.step(progress)

    def state_dict(self) -> dict[str, Any]:
        """Weight name → optimizer state: tensors and numbers."""
        return {
            name: {key: value for key, value in self._torch.state[weight].items() if value is not None}
            for name, weight in self.parameters.items()
            if weight in self._torch.state
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._torch.state.clear()
        for name, values in state.items():
            weight = self.parameters[name]
            self._torch.state[weight] = {
                key: (value.to(weight.device) if isinstance(value, Tensor) else value) for key, value in values.items()
            }


def _make(parameters: Mapping[str, torch.nn.Parameter], options: OptimizerOptions) -> torch.optim.Optimizer:
    decayed = [weight for weight in parameters.values() if weight.dim() > 1]
    plain = [weight for weight in parameters.values() if weight.dim() <= 1]
    if options.weight_decay:
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    else:
        groups = [{"params": list(parameters.values())}]
    groups = [group for group in groups if group["params"]]
    rate, decay, betas = options.learning_rate, options.weight_decay, (options.beta1, options.beta2)
    match options.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, weight_decay=decay, fused=True)
        case "momentum" | "nesterov":
            return torch.optim.SGD(
                groups,
                lr=rate,
                momentum=options.momentum,
                weight_decay=decay,
                nesterov=options.optimizer == "nesterov",
                fused=True,
            )
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate, momentum=options.momentum, weight_decay=decay, foreach=True)
        case "graves_rmsprop":
            return GravesRMSprop(groups, lr=rate, momentum=options.momentum, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=decay, fused=True)
