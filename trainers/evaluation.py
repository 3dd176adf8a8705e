"""Scores of an algorithm's predictions: on the validation split while training, on the test split to report."""

from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Algorithm
from trainers.datasets.declaration import Split
from trainers.datasets.loaded import Data
from trainers.objective import Objective


@torch.no_grad()
def evaluate(algorithm: Algorithm, data: Data, objective: Objective, split: Split) -> dict[str, float]:
    """`{split}_loss`, `{split}_accuracy`, … over the whole split; empty while there is nothing to score."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for batch in data.evaluation_batches(split):
        outputs = algorithm.predict(batch.inputs)
        if outputs is None:
            return {}
        for name, (value, count) in objective.measure(outputs, batch.targets).items():
            sums[name] = sums[name] + value.double() if name in sums else value.double()
            counts[name] = counts.get(name, 0) + count
    if not sums:
        return {}
    totals = torch.stack(list(sums.values())).tolist()
    values = {name: total / counts[name] for name, total in zip(sums, totals, strict=True)}
    return {f"{split}_{name}": value for name, value in (values | objective.derived(values)).items()}


@torch.no_grad()
def confusion(algorithm: Algorithm, data: Data, objective: Objective, split: Split) -> dict[str, Any]:
    """Confusion matrix (row: the label, column: the prediction) and accuracy per class; empty for other tasks."""
    if objective.kind != "cross_entropy" or objective.outputs > 100:
        return {}
    classes = objective.outputs
    matrix: Tensor | None = None
    for batch in data.evaluation_batches(split):
        outputs = algorithm.predict(batch.inputs)
        if outputs is None:
            return {}
        labels, guesses = batch.targets.reshape(-1), outputs.argmax(-1).reshape(-1)
        kept = labels >= 0
        cells = torch.bincount((labels * classes + guesses)[kept].cpu(), minlength=classes * classes)
        matrix = cells if matrix is None else matrix + cells
    if matrix is None:
        return {}
    matrix = matrix.reshape(classes, classes)
    per_class = (matrix.diagonal() / matrix.sum(1).clamp(min=1)).tolist()
    return {"confusion_matrix": matrix.tolist(), "per_class_accuracy": per_class}
