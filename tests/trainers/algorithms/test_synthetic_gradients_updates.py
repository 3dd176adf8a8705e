"""Updates of some weights at a time are those of torch's fused optimizers, to the last bit."""

from typing import Any

import pytest
import torch
from torch import nn

from trainers.algorithms.synthetic_gradients_updates import FusedAdam, updates_of
from trainers.optimizers import Optimizer, OptimizerOptions

CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam, decay": {"weight_decay": 0.1, "beta1": 0.8},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "clipped values, cosine": {"clip_value": 0.3, "schedule": "cosine", "warmup": 0.2},
}


def weights() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"layer1.weight": (3, 4), "layer1.bias": (3,), "layer2.kernel": (2, 3, 2, 2)}
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def gradients(step: int) -> dict[str, torch.Tensor]:
    """Of all weights, or of those of one layer; a kernel's lies in memory as convolutions leave it."""
    generator = torch.Generator().manual_seed(10 + step)
    every = {name: torch.randn(weight.shape, generator=generator) for name, weight in weights().items()}
    every["layer2.kernel"] = every["layer2.kernel"].contiguous(memory_format=torch.channels_last)
    return {name: each for name, each in every.items() if step % 3 == 0 or name.startswith(f"layer{step % 3}")}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_steps_are_those_of_the_optimizer(case: str) -> None:
    options = OptimizerOptions(learning_rate=0.05, **CASES[case])
    ours, theirs = weights(), weights()
    updates, optimizer = updates_of(ours, options), Optimizer(theirs, options)
    assert isinstance(updates, FusedAdam)
    for step in range(8):
        updates.step_with(gradients(step), progress=step / 8)
        optimizer.step_with(gradients(step), progress=step / 8)
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight), name


@torch.no_grad()
def test_either_goes_on_from_what_the_other_has_saved() -> None:
    options = OptimizerOptions(learning_rate=0.05)
    ours, theirs = weights(), weights()
    updates, optimizer = FusedAdam(ours, options), Optimizer(theirs, options)
    assert updates.state_dict() == {}
    for step in range(3):
        updates.step_with(gradients(step), progress=0)
        optimizer.step_with(gradients(step), progress=0)
    saved = {name: {key: value.clone() for key, value in each.items()} for name, each in updates.state_dict().items()}
    updates.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(saved)
    for step in range(3, 6):
        updates.step_with(gradients(step), progress=0)
        optimizer.step_with(gradients(step), progress=0)
    for name, weight in theirs.items():
        assert torch.equal(ours[name], weight), name


def test_other_optimizers_are_left_to_torch() -> None:
    updates = updates_of(weights(), OptimizerOptions(optimizer="momentum", clip_norm=1.0))
    assert isinstance(updates, Optimizer)
    assert updates.options.clip_norm is None  # each module's norm is clipped by itself
