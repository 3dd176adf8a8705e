"""The objective: the only door through which an algorithm sees labels and loss.

    kind                  outputs                    targets
    cross_entropy         (batch, …, classes)        (batch, …) int64; in a sequence -1 is left out (no label)
    binary_cross_entropy  (batch, …, bits) logits    (batch, …, bits) 0 or 1; -1 is left out
    squared_error         (batch, values)            (batch, values)
    counts                (batch, ticks, classes)    (batch, ticks, heads) int64; (batch, heads): of the last tick alone

A sequence has one output per time step; its loss is the mean over all that have a target. Counts have several heads,
each its own cross-entropy over its stretch of the classes; the loss is their sum.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["cross_entropy", "binary_cross_entropy", "squared_error", "counts"]


@dataclass(frozen=True, slots=True)
class Objective:
    """Loss, its gradient, and what is measured."""

    kind: Kind
    outputs: int
    """Output units: classes, symbols, bits or values."""
    characters: bool = False
    """Symbols of a text: bits per character are measured too."""
    heads: tuple[tuple[str, int], ...] = ()
    """Name and classes of each head, for counts."""

    def loss(self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Mean over the batch (and, for sequences, over time steps; for bits and values, over those too)."""
        if self.kind == "cross_entropy" and targets.dim() == 1:
            return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
        if self.kind == "cross_entropy":
            total = F.cross_entropy(
                outputs.reshape(-1, outputs.shape[-1]),
                targets.reshape(-1),
                ignore_index=-1,
                label_smoothing=label_smoothing,
                reduction="sum",
            )
            return total / (targets >= 0).sum().clamp(min=1)  # a chunk without any target has loss 0, not NaN
        if self.kind == "binary_cross_entropy":
            kept = targets >= 0
            each = F.binary_cross_entropy_with_logits(outputs, targets.clamp(min=0), reduction="none")
            return (each * kept).sum() / kept.sum().clamp(min=1)
        if self.kind == "counts":
            return torch.stack([self.head_loss(*head) for head in self._by_head(outputs, targets).values()]).sum()
        return F.mse_loss(outputs, targets.reshape(outputs.shape))

    @staticmethod
    def head_loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of one head, (…, its classes) and (…), mean over all."""
        return F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂outputs of each sample's own loss, not divided by the batch: softmax − one-hot for cross-entropy."""
        if self.kind == "cross_entropy":
            kept = (targets >= 0).unsqueeze(-1)
            return (torch.softmax(outputs, -1) - self.one_hot(targets, outputs.dtype)) * kept
        if self.kind == "binary_cross_entropy":
            return (torch.sigmoid(outputs) - targets.clamp(min=0)) * (targets >= 0) / self.outputs
        if self.kind == "counts":
            softmax = [torch.softmax(each, -1) for each, _ in self._by_head(outputs, targets).values()]
            return torch.cat(softmax, -1) - self.one_hot(targets, outputs.dtype)
        return 2 * (outputs - targets.reshape(outputs.shape)) / self.outputs

    def loss_and_error(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both, by one look at the outputs where the objective allows it; not for autograd."""
        if self.kind != "cross_entropy" or targets.dim() != 1:
            return self.loss(outputs, targets), self.error(outputs, targets)
        logarithms = torch.log_softmax(outputs, -1)
        labels = targets.unsqueeze(1)
        loss = -logarithms.gather(1, labels).mean()
        error = logarithms.exp_()
        return loss, error.scatter_add_(1, labels, error.new_full((), -1.0).expand_as(labels))

    def one_hot(self, targets: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(…, classes); a step without a label is all zeros. Of counts, the heads' side by side."""
        if self.kind == "counts":
            columns = zip(targets.unbind(-1), self.heads, strict=True)
            return torch.cat([F.one_hot(column, classes) for column, (_, classes) in columns], -1).to(dtype)
        classes = torch.arange(self.outputs, device=targets.device)
        return (targets.unsqueeze(-1) == classes).to(dtype)

    def measure(self, outputs: Tensor, targets: Tensor, loss: Tensor | None = None) -> dict[str, tuple[Tensor, int]]:
        """Name → (sum, count), for each step's report and for evaluation alike. `loss` spares its recomputation."""
        count = self._count(targets)
        measures = {"loss": ((self.loss(outputs, targets) if loss is None else loss) * count, count)}
        if self.kind == "cross_entropy":
            measures["accuracy"] = (self.correct(outputs, targets).sum(), count)
            if self.outputs > 20 and not self.characters:
                top = outputs.topk(5, dim=-1).indices
                measures["top5_accuracy"] = ((top == targets.unsqueeze(-1)).sum(), count)
        elif self.kind == "binary_cross_entropy":
            right = ((outputs > 0) == (targets > 0.5)) & (targets >= 0)
            measures["accuracy"] = (right.sum(), count)
        elif self.kind == "counts":
            measures |= self._measure_counts(outputs, targets)
        return measures

    def _measure_counts(self, outputs: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, int]]:
        """Of each head how often the count is right and how far off it is; accuracy is the mean over the heads."""
        measures: dict[str, tuple[Tensor, int]] = {}
        heads = self._by_head(outputs, targets)
        for name, (own, wanted) in heads.items():
            off = (own.argmax(-1) - wanted).abs()
            measures[f"{name}_accuracy"] = ((off == 0).sum(), wanted.numel())
            measures[f"{name}_counting_error"] = (off.sum(), wanted.numel())
        right = torch.stack([measures[f"{name}_accuracy"][0] for name in heads]).sum()
        return {"accuracy": (right, targets.numel()), **measures}

    def _by_head(self, outputs: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Name → (outputs, targets) of each head; targets without ticks are those of the last one."""
        if targets.dim() < outputs.dim():
            outputs = outputs[:, -1]
        split = outputs.split([classes for _, classes in self.heads], dim=-1)
        return {
            name: (own, wanted) for (name, _), own, wanted in zip(self.heads, split, targets.unbind(-1), strict=True)
        }

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Which outputs have their maximum at the target, bool, in the targets' shape."""
        return outputs.argmax(-1) == targets

    def derived(self, values: dict[str, float]) -> dict[str, float]:
        """Values that follow from measured ones: bits per character from nats."""
        return {"bits_per_character": values["loss"] / math.log(2)} if self.characters else {}

    def _count(self, targets: Tensor) -> int:
        # Shapes only, no look at the device: data sets that leave steps out count them here as well, so their
        # sums are scaled by the same constant for every algorithm.
        if self.kind == "counts":
            return targets.numel() // len(self.heads)
        return targets.numel() if self.kind != "squared_error" else targets.shape[0]
