"""Several counts as one objective: each head its own cross-entropy, measured by how far off the counts are."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.objective import Objective

COUNTS = Objective("counts", 7, heads=(("odd", 3), ("threes", 4)))


def sample() -> tuple[Tensor, Tensor]:
    """(batch 2, ticks 3, classes), (batch, ticks, heads)"""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    targets = torch.stack([torch.randint(classes, (2, 3), generator=generator) for _, classes in COUNTS.heads], dim=-1)
    return outputs, targets


def test_the_loss_is_the_sum_of_the_heads() -> None:
    outputs, targets = sample()
    odd = F.cross_entropy(outputs[..., :3].reshape(-1, 3), targets[..., 0].reshape(-1))
    threes = F.cross_entropy(outputs[..., 3:].reshape(-1, 4), targets[..., 1].reshape(-1))
    torch.testing.assert_close(COUNTS.loss(outputs, targets), odd + threes)


def test_the_error_is_the_gradient_of_each_samples_loss() -> None:
    outputs, targets = sample()
    leaf = outputs.requires_grad_(True)
    (gradient,) = torch.autograd.grad(COUNTS.loss(leaf, targets) * 6, leaf)  # 6 answers in the mean
    torch.testing.assert_close(COUNTS.error(outputs.detach(), targets), gradient)


def test_targets_without_ticks_are_those_of_the_last() -> None:
    outputs, targets = sample()
    last = targets[:, -1]
    assert torch.equal(COUNTS.loss(outputs, last), COUNTS.loss(outputs[:, -1:], targets[:, -1:]))


def test_counts_are_measured_by_how_often_and_how_far_they_are_off() -> None:
    outputs = torch.zeros(1, 2, 7)
    outputs[0, 0, [2, 3]] = 9  # says 2 odd, no three
    outputs[0, 1, [0, 6]] = 9  # says none odd, 3 threes
    targets = torch.tensor([[[0, 0], [0, 1]]])
    measures = COUNTS.measure(outputs, targets)
    means = {name: float(value) / count for name, (value, count) in measures.items() if name != "loss"}
    assert means == {
        "accuracy": 0.5,
        "odd_accuracy": 0.5,
        "odd_counting_error": 1.0,
        "threes_accuracy": 0.5,
        "threes_counting_error": 1.0,
    }
    loss, count = measures["loss"]
    assert float(loss) / count == pytest.approx(float(COUNTS.loss(outputs, targets)))
