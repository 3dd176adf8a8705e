"""Endless streams of digits with counts as targets, for digit_counting: many in parallel, a few chunks of T a step."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.datasets.declaration import Split
from trainers.datasets.indexed import Gatherer, LoadedSamples
from trainers.datasets.loaded import LoadedDataset, StatelessData, stream_steps
from trainers.datasets.splits import Samples
from trainers.streams import generator_for


@dataclass(frozen=True, slots=True)
class LoadedDigitStreams(LoadedDataset):
    """The images that streams are drawn from, by split; T, and how many times T digits a training step has."""

    images: LoadedSamples
    ticks: int
    messages: int
    evaluation_streams: int

    @property
    def sizes(self) -> Mapping[str, int]:
        return {}

    def data(
        self, *, batch_size: int, steps_per_epoch: int | None = None, evaluation_batch_size: int = 1000
    ) -> "DigitStreamData":
        return DigitStreamData(
            self,
            batch_size=batch_size,
            steps_per_pass=stream_steps(self.name, steps_per_epoch),
            evaluation_batch_size=evaluation_batch_size,
        )


class DigitStreamData(StatelessData):
    """Inputs (batch, messages · T, pixels), targets (batch, messages, 2): after every T digits the odd ones among these
    T and the threes among the last T².

    Every pass begins its streams anew (`starts`); until T² digits have passed, the threes are counted among those there
    were. The digits of an epoch are the same however many messages a step has. `Batch.indices` are rows of the image
    file, (batch, messages · T). An evaluation batch is one whole stretch of T² digits, (batch, T², pixels), with the
    odd ones of its last T and all of its threes, (batch, 2).
    """

    def __init__(
        self, loaded: LoadedDigitStreams, *, batch_size: int, steps_per_pass: int, evaluation_batch_size: int
    ) -> None:
        self._loaded, self.batch_size, self.steps_per_pass = loaded, batch_size, steps_per_pass
        self._gather, self._gather_evaluation = Gatherer(loaded.images), Gatherer(loaded.images)
        # A sample here is T² images.
        self._evaluation_batch_size = max(1, evaluation_batch_size // loaded.ticks**2)
        # The draws are made on the CPU, and so are the targets, from labels that lie there too.
        self._labels = loaded.images.train.targets.cpu()
        self._rows = loaded.images.train.rows.cpu()

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        T, messages, images = self._loaded.ticks, self._loaded.messages, self._loaded.images.train
        opening = first * messages
        threes = deque(
            (
                (self._labels[self._digits(epoch, chunk)] == 3).sum(1)
                for chunk in range(max(0, opening - T + 1), opening)
            ),
            maxlen=T,
        )
        for step in range(first, self.steps_per_pass):
            rows, targets = [], []
            for chunk in range(step * messages, (step + 1) * messages):
                rows.append(self._digits(epoch, chunk))
                labels = self._labels[rows[-1]]
                threes.append((labels == 3).sum(1))
                targets.append(torch.stack([(labels % 2).sum(1), torch.stack(tuple(threes)).sum(0)], dim=1))
            yield self._batch(
                self._gather, images, torch.cat(rows, dim=1), torch.stack(targets, dim=1), starts=step == 0
            )

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        T, images = self._loaded.ticks, getattr(self._loaded.images, split)
        generator = generator_for(self._loaded.seed, f"{split} digits")
        draws = torch.randint(len(images), (self._loaded.evaluation_streams, T * T), generator=generator)
        rows, labels = images.rows.cpu()[draws], images.targets.cpu()
        for part in rows.split(self._evaluation_batch_size):
            digits = labels[part]
            targets = torch.stack([(digits[:, -T:] % 2).sum(1), (digits == 3).sum(1)], dim=1)
            yield self._batch(self._gather_evaluation, images, part, targets, starts=True)

    def _digits(self, epoch: int, chunk: int) -> Tensor:
        """Rows of the image file, (batch, T), a function of (seed, epoch, chunk)."""
        generator = generator_for(self._loaded.seed, f"digits/{epoch}/{chunk}")
        draws = torch.randint(len(self._rows), (self.batch_size, self._loaded.ticks), generator=generator)
        return self._rows[draws]

    def _batch(self, gather: Gatherer, images: Samples, rows: Tensor, targets: Tensor, *, starts: bool) -> Batch:
        device = images.rows.device
        rows = rows.to(device)
        inputs, _ = gather(images, rows.flatten())
        return Batch(inputs.view(*rows.shape, -1), targets.to(device), rows, starts=starts)
