"""sequential_mnist and permuted_mnist: the images of MNIST read step by step, or with their pixels shuffled."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainers.datasets.declaration import Dataset, LabelledOptions, Loading, Task
from trainers.datasets.mnist import CLASSES, SIDE, Mnist, read_idx_set

if TYPE_CHECKING:
    from trainers.datasets.image_tables import Tables
    from trainers.datasets.indexed import LoadedSamples

PIXELS = SIDE * SIDE


class SequentialMnistOptions(LabelledOptions):
    """`dataset_options` of sequential_mnist."""

    validation_size: int | None = Field(
        default=5_000, ge=1, le=59_999, description="samples taken from the training set, by seed; null: a tenth of it"
    )
    order: Literal["rows", "pixels"] = Field(
        default="rows", description="rows: 28 steps of 28 pixels; pixels: 784 steps of one"
    )
    permutation_seed: int | None = Field(
        default=None, ge=0, description="shuffle the pixels, one way for all images, by this seed; null: leave them"
    )


class PermutedMnistOptions(LabelledOptions):
    """`dataset_options` of permuted_mnist."""

    validation_size: int | None = Field(
        default=5_000, ge=1, le=59_999, description="samples taken from the training set, by seed; null: a tenth of it"
    )
    permutation_seed: int = Field(
        default=0, ge=0, description="the way the pixels are shuffled, one for all images; the run's seed has no part"
    )


def permute_pixels(tables: "Tables", permutation_seed: int) -> "Tables":
    """All images with their pixels in one shuffled order, from the stream "pixels" of that seed."""
    import torch

    from trainers.datasets.image_tables import Tables
    from trainers.streams import generator_for

    order = torch.randperm(PIXELS, generator=generator_for(permutation_seed, "pixels")).numpy()
    train, test = (
        np.take(images.reshape(len(images), PIXELS), order, axis=1).reshape(images.shape)
        for images in (tables.train_inputs, tables.test_inputs)
    )
    return Tables(train, tables.train_targets, test, tables.test_targets)


class SequentialMnist(Dataset[SequentialMnistOptions]):
    """One class for a whole sequence, known after its last step."""

    name = "sequential_mnist"
    title = "Sequential MNIST"
    summary = "MNIST read by a recurrent network, row by row or pixel by pixel, shuffled if wanted"
    kind = "sequence_classification"
    source = f"{Mnist.source}; the task: Le, Jaitly, Hinton (2015), arXiv 1504.00941"
    licence = Mnist.licence
    sizes = Mnist.sizes
    usual_network = {"kind": "recurrent"}
    folder = Mnist.folder
    files = Mnist.files
    Options = SequentialMnistOptions

    @classmethod
    def task(cls, options: SequentialMnistOptions) -> Task:
        steps, width = (SIDE, SIDE) if options.order == "rows" else (PIXELS, 1)
        return Task("sequence_classification", (width,), CLASSES, time_steps=steps)

    @classmethod
    def read(cls, options: SequentialMnistOptions, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import load_tables

        tables, fingerprint = read_idx_set(cls, loading)
        if options.permutation_seed is not None:
            tables = permute_pixels(tables, options.permutation_seed)
        task = cls.task(options)
        return load_tables(
            cls.name,
            tables,
            task,
            options,
            fingerprint,
            loading,
            mean_and_deviation=Mnist.mean_and_deviation,
            sample_shape=(task.time_steps or 1, *task.input_shape),
        )


class PermutedMnist(Dataset[PermutedMnistOptions]):
    """Without neighbourhoods of pixels: what a convolution relies on is gone."""

    name = "permuted_mnist"
    title = "Permuted MNIST"
    summary = "MNIST with its pixels shuffled one way for all images"
    kind = "classification"
    source = f"{Mnist.source}; the task: Goodfellow et al. (2013), arXiv 1312.6211"
    licence = Mnist.licence
    sizes = Mnist.sizes
    usual_network = {"kind": "mlp"}
    folder = Mnist.folder
    files = Mnist.files
    Options = PermutedMnistOptions

    @classmethod
    def task(cls, options: PermutedMnistOptions) -> Task:
        return Task("classification", (1, SIDE, SIDE), CLASSES)

    @classmethod
    def read(cls, options: PermutedMnistOptions, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import load_tables

        tables, fingerprint = read_idx_set(cls, loading)
        return load_tables(
            cls.name,
            permute_pixels(tables, options.permutation_seed),
            cls.task(options),
            options,
            fingerprint,
            loading,
            mean_and_deviation=Mnist.mean_and_deviation,
        )
