"""digit_counting: a stream of MNIST digits for two networks that tick at different rates (arXiv 1608.05343, sec. 3.2).

A sees a digit every step and says after every T how many of the last T were odd; B ticks once every T steps, sees only
A's message, and says how many of the last T² were threes.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from trainers.datasets.declaration import Dataset, LabelledOptions, Loading, Task
from trainers.datasets.mnist import SIDE, Mnist, read_idx_set

if TYPE_CHECKING:
    from trainers.datasets.digit_streams import LoadedDigitStreams


class DigitCountingOptions(LabelledOptions):
    """`dataset_options` of digit_counting."""

    validation_size: int | None = Field(
        default=5_000, ge=1, le=59_999, description="images for validation streams, by seed; null: a tenth"
    )
    ticks: int = Field(default=10, ge=1, le=100, description="T: digits a training step, and A's ticks for each of B's")
    evaluation_streams: int = Field(default=200, ge=1, le=100_000, description="streams of T² digits to evaluate on")


class DigitCounting(Dataset[DigitCountingOptions]):
    """Batches are (batch, T, 784); the targets' columns are A's count and B's."""

    name = "digit_counting"
    title = "Counting digits"
    summary = "generated from MNIST: two networks at different rates count odd digits and threes in a stream"
    kind = "digit_counting"
    source = f"Jaderberg et al. (2016), arXiv 1608.05343, section 3.2; images: {Mnist.source}"
    licence = Mnist.licence
    sizes = {}
    usual_network = {"kind": "recurrent"}
    folder = Mnist.folder
    files = Mnist.files
    endless = True
    Options = DigitCountingOptions

    @classmethod
    def task(cls, options: DigitCountingOptions) -> Task:
        T = options.ticks
        return Task(
            "digit_counting", (SIDE * SIDE,), T * T + 1, time_steps=T, heads={"odd": T + 1, "threes": T * T + 1}
        )

    @classmethod
    def read(cls, options: DigitCountingOptions, loading: Loading) -> "LoadedDigitStreams":
        from trainers.datasets.digit_streams import LoadedDigitStreams
        from trainers.datasets.image_tables import load_tables

        tables, fingerprint = read_idx_set(cls, loading)
        task = cls.task(options)
        images = load_tables(
            cls.name,
            tables,
            task,
            options,
            fingerprint,
            loading,
            mean_and_deviation=Mnist.mean_and_deviation,
            sample_shape=task.input_shape,
        )
        return LoadedDigitStreams(
            name=cls.name,
            task=task,
            fingerprint=fingerprint,
            seed=loading.seed,
            images=images,
            ticks=options.ticks,
            evaluation_streams=options.evaluation_streams,
        )
