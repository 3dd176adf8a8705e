"""copy and repeat_copy: remember a pattern of random bits and write it down again, once or several times.

One sequence, N vectors of 8 bits and R repeats, (R + 1) N + 3 steps (as in arXiv 1608.05343, section 3.1):

    step              inputs (10)                     outputs (9)
    0                 start flag (bit 8)              0
    1 … N             the pattern (bits 0-7)          0
    N + 1             R / 10 (value 9)                0
    then R·N steps    0                               the pattern, R times (bits 0-7)
    last              0                               end flag (bit 8)
"""

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.datasets.declaration import Dataset, DatasetOptions, Loading, Task
from trainers.datasets.files import Fingerprint

if TYPE_CHECKING:
    from trainers.datasets.bit_sequences import LoadedBitSequences

PATTERN_BITS, INPUTS, OUTPUTS = 8, 10, 9


class CopyOptions(DatasetOptions):
    """`dataset_options` of copy."""

    length: int = Field(default=1, ge=1, le=1_000, description="vectors in the pattern, N, at the start")
    curriculum: bool = Field(default=True, description="a longer pattern whenever the loss falls below threshold_bits")
    threshold_bits: float = Field(
        default=0.15, gt=0, le=1, description="mean binary cross-entropy of a batch of sequences, in bits, to go on"
    )
    max_length: int = Field(default=200, ge=1, le=1_000, description="the curriculum stops growing N here")
    chunk_length: int | None = Field(
        default=None, ge=1, le=10_000, description="steps of a sequence a training step, T; null: the whole sequence"
    )
    evaluation_sequences: int = Field(default=200, ge=1, le=100_000, description="sequences to validate and test on")


class RepeatCopyOptions(CopyOptions):
    """`dataset_options` of repeat_copy."""

    repeats: int = Field(default=1, ge=1, le=1_000, description="times that the pattern is written, R, at the start")


class Copy(Dataset[CopyOptions]):
    """The pattern is written once; the curriculum makes it longer."""

    name = "copy"
    title = "Copy"
    summary = "generated: remember a pattern of random bits of growing length and write it down again"
    kind = "sequence_bits"
    source = "Graves, Wayne, Danihelka (2014), arXiv 1410.5401; curriculum: Jaderberg et al. (2016), arXiv 1608.05343"
    licence = "generated, none needed"
    sizes = {}
    usual_network = {"kind": "recurrent"}
    endless = True
    Options = CopyOptions

    @classmethod
    def task(cls, options: CopyOptions) -> Task:
        fixed = None if options.curriculum else 2 * options.length + 3
        return Task("sequence_bits", (INPUTS,), OUTPUTS, time_steps=fixed)

    @classmethod
    def read(cls, options: CopyOptions, loading: Loading) -> "LoadedBitSequences":
        return _generated(cls, options, loading, repeats=1, grow_repeats=False)


class RepeatCopy(Dataset[RepeatCopyOptions]):
    """The curriculum adds a repeat, or a vector once there are as many repeats as vectors."""

    name = "repeat_copy"
    title = "Repeat Copy"
    summary = "generated: remember a pattern of random bits and write it down as often as told; both grow"
    kind = "sequence_bits"
    source = Copy.source
    licence = Copy.licence
    sizes = {}
    usual_network = {"kind": "recurrent"}
    endless = True
    Options = RepeatCopyOptions

    @classmethod
    def task(cls, options: RepeatCopyOptions) -> Task:
        fixed = None if options.curriculum else (options.repeats + 1) * options.length + 3
        return Task("sequence_bits", (INPUTS,), OUTPUTS, time_steps=fixed)

    @classmethod
    def read(cls, options: RepeatCopyOptions, loading: Loading) -> "LoadedBitSequences":
        return _generated(cls, options, loading, repeats=options.repeats, grow_repeats=True)


def _generated(
    dataset: type[Copy] | type[RepeatCopy], options: CopyOptions, loading: Loading, *, repeats: int, grow_repeats: bool
) -> "LoadedBitSequences":
    from trainers.datasets.bit_sequences import Curriculum, LoadedBitSequences

    recipe = {"dataset": dataset.name, "options": options.model_dump(), "seed": loading.seed}
    return LoadedBitSequences(
        name=dataset.name,
        task=dataset.task(options),  # type: ignore[arg-type]
        fingerprint=Fingerprint.of_generator(recipe),
        seed=loading.seed,
        device=loading.device,
        dtype=loading.dtype,
        curriculum=Curriculum(options.curriculum, options.threshold_bits, options.max_length, grow_repeats),
        pattern_length=options.length,
        repeats=repeats,
        chunk_length=options.chunk_length,
        evaluation_sequences=options.evaluation_sequences,
    )
