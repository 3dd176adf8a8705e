"""Every step's loss, kept on the device and read now and then: a non-finite one ends the run.

A healthy run pays one copied number a step, and no look at the device within a pass.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from trainers.algorithms.base import StepReport

CAPACITY = 1024


class NonFiniteLoss(Exception):
    """A loss is not finite: that of training step `step`, or one evaluated after it; `checkpoint` is the last before.

    quantity: "training_loss", or the evaluated value's name, such as "validation_loss".
    """

    def __init__(self, step: int, checkpoint: Path | None, quantity: str = "training_loss") -> None:
        super().__init__(f"the {quantity} of step {step} is not finite")
        self.step, self.checkpoint, self.quantity = step, checkpoint, quantity


class LossTrace:
    """The losses of the last steps, on the device."""

    def __init__(self, device: torch.device) -> None:
        self._losses = torch.zeros(CAPACITY, dtype=torch.float64, device=device)
        self._steps: list[int] = []

    @property
    def full(self) -> bool:
        return len(self._steps) == CAPACITY

    def add(self, step: int, report: StepReport) -> None:
        if report.measures:
            loss, _ = next(iter(report.measures.values()))
            self._losses[len(self._steps)] = loss
            self._steps.append(step)

    def first_non_finite(self) -> int | None:
        """The first step whose loss is not finite, or None; what was looked at is dropped."""
        if not self._steps:
            return None
        bad = torch.isfinite(self._losses[: len(self._steps)]).logical_not_().nonzero()
        step = self._steps[int(bad[0])] if len(bad) else None
        self._steps.clear()
        return step


def first_non_finite(values: Mapping[str, float]) -> str | None:
    """The name of the first evaluated value that is not finite, or None."""
    return next((name for name, value in values.items() if not math.isfinite(value)), None)
