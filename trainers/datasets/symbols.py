"""A text as many parallel streams: row b of every batch reads on in segment b of the text, chunk by chunk."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.algorithms.base import Batch
from trainers.datasets.declaration import Split
from trainers.datasets.loaded import LoadedDataset, StatelessData
from trainers.errors import DatasetUnavailable, SpecError
from trainers.streams import generator_for


def encode(content: bytes, path: Path | str) -> tuple[str, Tensor]:
    """The alphabet (the text's characters, sorted) and the text as uint8 positions in it; `path` is for errors.

    Raises DatasetUnavailable for an empty file, bytes that are no UTF-8, and more than 256 different characters.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DatasetUnavailable(
            f"{path} is no UTF-8 text: byte {error.start:,} is 0x{content[error.start]:02x}."
        ) from None
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    if not len(points):
        raise DatasetUnavailable(f"{path} is empty.")
    symbols, ids = np.unique(points, return_inverse=True)
    if len(symbols) > 256:
        raise DatasetUnavailable(f"{path} has {len(symbols):,} different characters; at most 256 are supported.")
    return "".join(map(chr, symbols)), torch.from_numpy(ids.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class LoadedSymbols(LoadedDataset):
    """A text, split into three stretches; each (characters,) uint8 positions in the alphabet."""

    alphabet: str
    train: Tensor
    validation: Tensor
    test: Tensor
    chunk_length: int
    shuffle: bool
    evaluation_length: int

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    def data(
        self, *, batch_size: int, steps_per_epoch: int | None = None, evaluation_batch_size: int = 1000
    ) -> "SymbolData":
        return SymbolData(self, batch_size=batch_size, evaluation_batch_size=evaluation_batch_size)


class SymbolData(StatelessData):
    """Chunks of T symbols and, as targets, the symbols that follow each; (batch, T) int64 both.

    An epoch is one walk of all rows through their segments; `starts` is true on its first chunk alone. Less than one
    chunk a row is left out at the end of the text, and less than one chunk before its start (see `shuffle`).
    `Batch.indices` are the rows' numbers. For evaluation a split is cut into pieces of `evaluation_length` that each
    start afresh, so that every symbol but the first is predicted once.
    """

    def __init__(self, loaded: LoadedSymbols, *, batch_size: int, evaluation_batch_size: int = 1000) -> None:
        self._loaded, self.batch_size = loaded, batch_size
        length = loaded.chunk_length
        usable = len(loaded.train) - 1 - (length - 1 if loaded.shuffle else 0)
        self.steps_per_pass = max(usable, 0) // (batch_size * length)
        if self.steps_per_pass == 0:
            most = max(usable, 0) // length
            raise SpecError(
                "#/training/batch_size",
                f"batch_size must be at most {most:,} with chunks of {length:,}: each row reads its own part of "
                f"{len(loaded.train):,} symbols; got {batch_size:,}.",
                got=batch_size,
            )
        # As many symbols at once as a training batch would hold samples, roughly.
        self._evaluation_rows = max(1, 64 * evaluation_batch_size // loaded.evaluation_length)
        device = loaded.train.device
        self._inputs = torch.empty(batch_size, length, dtype=torch.int64, device=device)
        self._targets = torch.empty_like(self._inputs)
        self._rows = torch.arange(batch_size, device=device)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        text, length = self._loaded.train, self._loaded.chunk_length
        begin = 0
        if self._loaded.shuffle:
            generator = generator_for(self._loaded.seed, f"order/{epoch}")
            begin = int(torch.randint(0, length, (), generator=generator))
        span = self.steps_per_pass * length
        inputs = text[begin : begin + self.batch_size * span].view(self.batch_size, span)
        targets = text[begin + 1 : begin + 1 + self.batch_size * span].view(self.batch_size, span)
        for step in range(first, self.steps_per_pass):
            chunk = slice(step * length, (step + 1) * length)
            self._inputs.copy_(inputs[:, chunk])
            self._targets.copy_(targets[:, chunk])
            yield Batch(self._inputs, self._targets, self._rows, starts=step == 0)

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        text: Tensor = getattr(self._loaded, split)
        length = self._loaded.evaluation_length
        predicted = len(text) - 1
        whole = predicted // length
        inputs = text[: whole * length].view(whole, length)
        targets = text[1 : 1 + whole * length].view(whole, length)
        for first in range(0, whole, self._evaluation_rows):
            rows = slice(first, min(first + self._evaluation_rows, whole))
            yield Batch(
                inputs[rows].long(), targets[rows].long(), torch.arange(rows.start, rows.stop, device=text.device)
            )
        if whole * length < predicted:
            rest = text[whole * length :].long()
            yield Batch(rest[None, :-1], rest[None, 1:], torch.tensor([whole], device=text.device))
