"""digit_counting: a stream of digits for two networks that tick at different rates (arXiv 1608.05343, section 3.2).

A sees a digit every step and says after every T how many of the last T were odd; B ticks once every T steps, sees only
A's message, and says how many of the last T² were threes.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from trainers.datasets import digits_csv
from trainers.datasets.declaration import Dataset, LabelledOptions, Loading, Task
from trainers.datasets.mnist import SIDE, Mnist, read_idx_set

if TYPE_CHECKING:
    from trainers.datasets.digit_streams import LoadedDigitStreams
    from trainers.datasets.indexed import LoadedSamples


class DigitCountingOptions(LabelledOptions):
    """`dataset_options` of digit_counting."""

    images: Literal["mnist", "digits"] = Field(
        default="mnist", description="what is streamed: MNIST, or the 8 x 8 pixels of digits, which need no download"
    )
    validation_size: int | None = Field(
        default=None,
        ge=1,
        le=59_999,
        description="images for validation streams, by seed; left out: 5,000 of MNIST, 180 of digits",
    )
    ticks: int = Field(default=10, ge=1, le=100, description="T: A's ticks for each of B's")
    messages: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="of A to B in a training step, after T digits each; with T of them the gradient of a step reaches "
        "over all digits that B is to count",
    )
    evaluation_streams: int = Field(default=200, ge=1, le=100_000, description="streams of T² digits to evaluate on")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.validation_size is None:
            self.validation_size = 5_000 if self.images == "mnist" else 180
        return self


class DigitCounting(Dataset[DigitCountingOptions]):
    """Batches are (batch, messages · T, pixels); the targets' columns are A's count and B's."""

    name = "digit_counting"
    title = "Counting digits"
    summary = "generated from MNIST: two networks at different rates count odd digits and threes in a stream"
    kind = "digit_counting"
    source = f"Jaderberg et al. (2016), arXiv 1608.05343, section 3.2; images: {Mnist.source}"
    licence = Mnist.licence
    sizes = {}
    usual_network = {"kind": "two_networks"}
    folder = Mnist.folder
    files = Mnist.files
    endless = True
    Options = DigitCountingOptions

    @classmethod
    def task(cls, options: DigitCountingOptions) -> Task:
        T = options.ticks
        side = SIDE if options.images == "mnist" else digits_csv.SIDE
        heads = {"odd": T + 1, "threes": T * T + 1}
        return Task(
            "digit_counting", (side * side,), sum(heads.values()), time_steps=options.messages * T, heads=heads, ticks=T
        )

    @classmethod
    def read(cls, options: DigitCountingOptions, loading: Loading) -> "LoadedDigitStreams":
        from trainers.datasets.digit_streams import LoadedDigitStreams

        images = cls._mnist(options, loading) if options.images == "mnist" else cls._digits(options, loading)
        return LoadedDigitStreams(
            name=cls.name,
            task=cls.task(options),
            fingerprint=images.fingerprint,
            seed=loading.seed,
            images=images,
            ticks=options.ticks,
            messages=options.messages,
            evaluation_streams=options.evaluation_streams,
        )

    @classmethod
    def _mnist(cls, options: DigitCountingOptions, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import load_tables

        tables, fingerprint = read_idx_set(cls, loading)
        task = cls.task(options)
        return load_tables(
            cls.name,
            tables,
            task,
            options,
            fingerprint,
            loading,
            mean_and_deviation=Mnist.mean_and_deviation,
            sample_shape=task.input_shape,
        )

    @classmethod
    def _digits(cls, options: DigitCountingOptions, loading: Loading) -> "LoadedSamples":
        from dataclasses import replace

        from trainers.datasets.digits import Digits

        shared = options.model_dump(include=set(LabelledOptions.model_fields))
        return replace(Digits.read(Digits.Options(**shared), loading), sample_shape=cls.task(options).input_shape)
