"""Which samples train, validate and test. The test set is the published one; validation is drawn by seed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.datasets.declaration import LabelledOptions
from trainers.errors import SpecError
from trainers.streams import generator_for


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of a table of samples, all on one device. Splits of one file share the table.

    inputs   (samples, *shape) uint8 or float
    targets  (samples,) int64, or (samples, values) float
    rows     (count,) int64, the rows that belong to this split, ascending
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


def hold_out(count: int, options: LabelledOptions, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows to validate on, out of `count`; both ascending, disjoint, on the CPU."""
    validation_size = max(1, count // 10) if options.validation_size is None else options.validation_size
    left = count - validation_size
    if left < 1:
        raise SpecError(
            "#/dataset_options/validation_size",
            f"validation_size must leave samples to train on: there are {count:,}, got {validation_size:,}.",
            got=validation_size,
        )
    train_size = left if options.train_size is None else options.train_size
    if train_size > left:
        raise SpecError(
            "#/dataset_options/train_size",
            f"train_size must be at most {left:,} ({count:,} samples less {validation_size:,} for validation); "
            f"got {train_size:,}.",
            got=train_size,
        )
    order = torch.randperm(count, generator=generator_for(seed, "validation"))
    validation, train = order[:validation_size], order[validation_size:][:train_size]
    return train.sort().values, validation.sort().values


def every_nth_of_each_class(labels: Tensor, n: int, *, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """(rest, chosen) rows: one of n, in the proportions of the classes, for sets without a published test set."""
    order = torch.randperm(len(labels), generator=generator_for(seed, name))
    by_class = order[labels[order].sort(stable=True).indices]
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[by_class[::n]] = True
    return torch.nonzero(~chosen).squeeze(1), torch.nonzero(chosen).squeeze(1)
