"""Sets of labelled samples: held on the device, gathered by index, one copy into reused buffers a batch.

A step costs one `index_select` of bytes, one conversion to float, one or two in-place operations that normalise, and
one `index_select` of targets. The order of an epoch is drawn once, when the epoch begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.datasets.augmentation import CropAndFlip, Draws
from trainers.datasets.declaration import Split
from trainers.datasets.loaded import LoadedDataset, StatelessData
from trainers.datasets.splits import Samples
from trainers.streams import generator_for


@dataclass(frozen=True, slots=True)
class Scaling:
    """x → (x − shift) · factor, in the units of the stored values; None leaves a part out."""

    shift: float | Tensor | None = None
    factor: float | Tensor | None = None

    def apply_(self, inputs: Tensor) -> None:
        if self.shift is not None:
            inputs.sub_(self.shift)
        if self.factor is not None:
            inputs.mul_(self.factor)


@dataclass(frozen=True, slots=True)
class LoadedSamples(LoadedDataset):
    """Samples of a fixed set, by split."""

    train: Samples
    validation: Samples
    test: Samples
    scaling: Scaling
    sample_shape: tuple[int, ...]  # of one sample as the network sees it
    dtype: torch.dtype
    shuffle: bool
    drop_last: bool
    augmentation: CropAndFlip | None = None
    reconstructs: bool = False  # the targets are the inputs, as the network sees them, flattened

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    def data(
        self, *, batch_size: int, steps_per_epoch: int | None = None, evaluation_batch_size: int = 1000
    ) -> "IndexedData":
        return IndexedData(self, batch_size=batch_size, evaluation_batch_size=evaluation_batch_size)


class IndexedData(StatelessData):
    """Batches of a fixed set. `Batch.indices` are rows of the published training (test) file, whatever the split.

    Every sample is seen once an epoch; with `drop_last`, a smaller last batch is left out. A set smaller than the
    batch size is one smaller batch either way.
    """

    def __init__(self, loaded: LoadedSamples, *, batch_size: int, evaluation_batch_size: int = 1000) -> None:
        self._loaded = loaded
        count = len(loaded.train)
        self.batch_size = min(batch_size, count)
        self._evaluation_batch_size = evaluation_batch_size
        self.steps_per_pass = count // self.batch_size if loaded.drop_last else -(-count // self.batch_size)
        self._gather = Gatherer(loaded)
        self._gather_evaluation = Gatherer(loaded)
        self._opened: tuple[int, tuple[Tensor, ...], Draws | None] | None = None

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        parts, draws = self._open(epoch)
        samples, gather = self._loaded.train, self._gather
        for step in range(first, self.steps_per_pass):
            rows = parts[step]
            inputs, targets = gather(samples, rows, draws, step * self.batch_size)
            yield Batch(inputs, targets, rows)

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        samples: Samples = getattr(self._loaded, split)
        for rows in samples.rows.split(self._evaluation_batch_size):
            inputs, targets = self._gather_evaluation(samples, rows)
            yield Batch(inputs, targets, rows)

    def _open(self, epoch: int) -> tuple[tuple[Tensor, ...], Draws | None]:
        """The epoch's rows, a tensor a batch, and its draws; kept for the epoch's other passes."""
        if self._opened is None or self._opened[0] != epoch:
            loaded, rows = self._loaded, self._loaded.train.rows
            if loaded.shuffle:
                generator = generator_for(loaded.seed, f"order/{epoch}")
                rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            draws = None
            if loaded.augmentation is not None:
                draws = loaded.augmentation.draw(len(rows), seed=loaded.seed, epoch=epoch, device=rows.device)
            self._opened = (epoch, rows.split(self.batch_size), draws)
        return self._opened[1], self._opened[2]


class Gatherer:
    """Copies rows of samples into float inputs and targets. Its buffers are reused: one set a batch size."""

    def __init__(self, loaded: LoadedSamples) -> None:
        self._scaling, self._augmentation = loaded.scaling, loaded.augmentation
        self._sample_shape, self._dtype = loaded.sample_shape, loaded.dtype
        self._reconstructs = loaded.reconstructs
        self._buffers: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def __call__(
        self, samples: Samples, rows: Tensor, draws: Draws | None = None, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Inputs (rows, *sample_shape) and targets (rows, …), augmented by the draws from position `first` on."""
        stored, inputs, shaped, targets = self._buffers_for(samples, len(rows))
        torch.index_select(samples.inputs, 0, rows, out=stored)
        if draws is not None and self._augmentation is not None:
            self._augmentation.apply_(stored, draws, first)
        if stored is not inputs:
            inputs.copy_(stored)
        self._scaling.apply_(inputs)
        if self._reconstructs:
            return shaped, inputs.flatten(1)
        torch.index_select(samples.targets, 0, rows, out=targets)
        return shaped, targets

    def _buffers_for(self, samples: Samples, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(as stored, as float, the same memory in the network's shape, targets)."""
        if count not in self._buffers:
            shape = (count, *samples.inputs.shape[1:])
            inputs = samples.inputs.new_empty(shape, dtype=self._dtype)
            stored = inputs if samples.inputs.dtype == self._dtype else samples.inputs.new_empty(shape)
            targets = samples.targets.new_empty((count, *samples.targets.shape[1:]))
            self._buffers[count] = (stored, inputs, inputs.view(count, *self._sample_shape), targets)
        return self._buffers[count]
