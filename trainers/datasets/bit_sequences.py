"""Endless sequences of bits for copy and repeat_copy, cut into chunks, with a curriculum.

Sequence number k is a function of (seed, k, N, R), so the whole state is a few numbers: which sequence, how far in it,
how long the pattern is, and the loss of the sequence so far.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.base import Batch, StepReport
from trainers.datasets.copy_tasks import INPUTS, OUTPUTS, PATTERN_BITS
from trainers.datasets.declaration import Split
from trainers.datasets.loaded import LoadedDataset, stream_steps
from trainers.streams import generator_for


@dataclass(frozen=True, slots=True)
class Curriculum:
    """When and how sequences grow."""

    enabled: bool
    threshold_bits: float
    max_length: int
    grow_repeats: bool

    def after_success(self, pattern_length: int, repeats: int) -> tuple[int, int]:
        """(N, R) after a batch below the threshold: R + 1 while R < N, else N + 1 (repeat_copy); N + 1 (copy)."""
        if not self.enabled:
            return pattern_length, repeats
        if self.grow_repeats and repeats < pattern_length:
            return pattern_length, repeats + 1
        return min(pattern_length + 1, max(self.max_length, pattern_length)), repeats


def sequence_length(pattern_length: int, repeats: int) -> int:
    """Steps of one sequence: start, pattern, repeats, answer, end."""
    return (repeats + 1) * pattern_length + 3


def bit_sequences(
    count: int, pattern_length: int, repeats: int, generator: torch.Generator, *, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Inputs (count, time, 10) and targets (count, time, 9), on the CPU."""
    N, R = pattern_length, repeats
    inputs = torch.zeros(count, sequence_length(N, R), INPUTS, dtype=dtype)
    targets = torch.zeros(count, sequence_length(N, R), OUTPUTS, dtype=dtype)
    pattern = torch.randint(0, 2, (count, N, PATTERN_BITS), generator=generator).to(dtype)
    inputs[:, 0, PATTERN_BITS] = 1
    inputs[:, 1 : N + 1, :PATTERN_BITS] = pattern
    inputs[:, N + 1, PATTERN_BITS + 1] = R / 10
    targets[:, N + 2 : -1, :PATTERN_BITS] = pattern.repeat(1, R, 1)
    targets[:, -1, PATTERN_BITS] = 1
    return inputs, targets


@dataclass(frozen=True, slots=True)
class LoadedBitSequences(LoadedDataset):
    """The recipe of an endless stream."""

    device: torch.device
    dtype: torch.dtype
    curriculum: Curriculum
    pattern_length: int
    repeats: int
    chunk_length: int | None
    evaluation_sequences: int

    @property
    def sizes(self) -> Mapping[str, int]:
        return {}

    def data(
        self, *, batch_size: int, steps_per_epoch: int | None = None, evaluation_batch_size: int = 1000
    ) -> "BitSequenceData":
        return BitSequenceData(
            self,
            batch_size=batch_size,
            steps_per_pass=stream_steps(self.name, steps_per_epoch),
            evaluation_batch_size=evaluation_batch_size,
        )


class BitSequenceData:
    """A batch is one chunk of T steps of batch_size sequences at once, all of one length; the last chunk of a sequence
    may be shorter. `starts` is true where a sequence begins, so carried state is reset there.

    The stream goes on from pass to pass, across epochs, also in the middle of a sequence. Its state moves before a
    batch is handed out; `observe` completes it, and waits for the device once a sequence. The loss that the curriculum
    looks at is the mean over all steps and outputs of a batch of whole sequences, in bits: an algorithm's measure
    "loss", in nats, summed over bits and counted in bits.

    Validation and test sequences have the length that the curriculum has reached, and streams of their own.
    """

    def __init__(
        self, loaded: LoadedBitSequences, *, batch_size: int, steps_per_pass: int, evaluation_batch_size: int
    ) -> None:
        self._loaded, self.batch_size, self.steps_per_pass = loaded, batch_size, steps_per_pass
        self._evaluation_batch_size = evaluation_batch_size
        self._pattern_length, self._repeats = loaded.pattern_length, loaded.repeats
        self._sequence, self._position = 0, 0  # the next chunk: of which sequence, at which of its steps
        self._longest_solved, self._solved = 0, 0
        self._loss = torch.zeros((), dtype=torch.float64, device=loaded.device)
        self._bits = 0
        self._current: tuple[int, Tensor, Tensor] | None = None
        self._rows = torch.arange(batch_size, device=loaded.device)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        for _ in range(first, self.steps_per_pass):
            inputs, targets = self._sequences()
            begin = self._position
            end = min(begin + (self._loaded.chunk_length or inputs.shape[1]), inputs.shape[1])
            if end == inputs.shape[1]:
                self._sequence, self._position = self._sequence + 1, 0
            else:
                self._position = end
            yield Batch(inputs[:, begin:end], targets[:, begin:end], self._rows, starts=begin == 0)

    def observe(self, report: StepReport) -> None:
        """Adds up a sequence's loss and, at its end, decides whether the next one is longer."""
        if "loss" in report.measures:
            loss, bits = report.measures["loss"]
            self._loss += loss.detach()
            self._bits += bits
        if self._position == 0:
            self._finish_sequence()

    def _finish_sequence(self) -> None:
        if self._bits and float(self._loss) / self._bits / math.log(2) < self._loaded.curriculum.threshold_bits:
            self._solved += 1
            self._longest_solved = max(self._longest_solved, sequence_length(self._pattern_length, self._repeats))
            self._pattern_length, self._repeats = self._loaded.curriculum.after_success(
                self._pattern_length, self._repeats
            )
        self._loss.zero_()
        self._bits = 0

    def evaluation_batches(self, split: Split) -> Iterator[Batch]:
        N, R = self._pattern_length, self._repeats
        generator = generator_for(self._loaded.seed, f"{split} sequences/{N}/{R}")
        inputs, targets = bit_sequences(self._loaded.evaluation_sequences, N, R, generator, dtype=self._loaded.dtype)
        rows = torch.arange(len(inputs))
        for part in rows.split(self._evaluation_batch_size):
            here = slice(int(part[0]), int(part[-1]) + 1)
            device = self._loaded.device
            yield Batch(inputs[here].to(device), targets[here].to(device), part.to(device))

    def measurements(self) -> dict[str, float]:
        """N, R and (R + 1) N + 3 as they stand, the longest sequence below the threshold so far, and how many were."""
        return {
            "pattern_length": float(self._pattern_length),
            "repeats": float(self._repeats),
            "sequence_length": float(sequence_length(self._pattern_length, self._repeats)),
            "longest_solved": float(self._longest_solved),
            "sequences_solved": float(self._solved),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "sequence": self._sequence,
            "position": self._position,
            "pattern_length": self._pattern_length,
            "repeats": self._repeats,
            "longest_solved": self._longest_solved,
            "solved": self._solved,
            "loss": self._loss.clone(),
            "bits": self._bits,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sequence, self._position = state["sequence"], state["position"]
        self._pattern_length, self._repeats = state["pattern_length"], state["repeats"]
        self._longest_solved, self._solved = state["longest_solved"], state["solved"]
        self._loss.copy_(state["loss"])
        self._bits = state["bits"]
        self._current = None

    def _sequences(self) -> tuple[Tensor, Tensor]:
        """The sequences that the next chunk is cut from, made when the first of it is."""
        if self._current is None or self._current[0] != self._sequence:
            generator = generator_for(self._loaded.seed, f"train sequences/{self._sequence}")
            inputs, targets = bit_sequences(
                self.batch_size, self._pattern_length, self._repeats, generator, dtype=self._loaded.dtype
            )
            device = self._loaded.device
            self._current = (self._sequence, inputs.to(device), targets.to(device))
        return self._current[1], self._current[2]
