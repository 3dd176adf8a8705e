"""mnist and fashion_mnist: 60,000 + 10,000 grey images of 28 x 28 pixels, in four IDX files each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trainers.datasets.declaration import (
    Dataset,
    DatasetOptions,
    KnownFile,
    Loading,
    ReconstructibleOptions,
    Remote,
    Task,
)
from trainers.datasets.download import fetch_missing
from trainers.datasets.files import Fingerprint, missing_files, read_official, require
from trainers.datasets.idx import check_labels, parse_idx

if TYPE_CHECKING:
    from trainers.datasets.image_tables import Tables
    from trainers.datasets.indexed import LoadedSamples

SIDE, CLASSES = 28, 10
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
PLAIN_SIZES = {TRAIN_IMAGES: 47_040_016, TRAIN_LABELS: 60_008, TEST_IMAGES: 7_840_016, TEST_LABELS: 10_008}


class MnistOptions(ReconstructibleOptions):
    """`dataset_options` of mnist and fashion_mnist."""

    validation_size: int | None = Field(
        default=5_000, ge=1, le=59_999, description="samples taken from the training set, by seed; null: a tenth of it"
    )


def idx_files(
    mirrors: tuple[str, ...],
    plain_sha256: Mapping[str, str],
    transferred: Mapping[str, tuple[int, Literal["md5"], str]],
) -> tuple[KnownFile, ...]:
    """The four files: SHA-256 uncompressed, and size and MD5 of each .gz as the publisher has it."""
    return tuple(
        KnownFile(
            name,
            PLAIN_SIZES[name],
            "sha256",
            digest,
            Remote(tuple(f"{mirror}/{name}.gz" for mirror in mirrors), *transferred[name]),
        )
        for name, digest in plain_sha256.items()
    )


def read_idx_set(dataset: type[Dataset[Any]], loading: Loading) -> tuple["Tables", Fingerprint]:
    """The four files of `dataset`, downloaded where missing, checked against their sums and each other."""
    from trainers.datasets.image_tables import Tables

    folder = loading.data_dir / str(dataset.folder)
    if loading.download:
        fetch_missing(
            dataset.title,
            folder,
            lambda: [file.remote for file in missing_files(folder, dataset.files) if file.remote is not None],
            progress=loading.progress,
        )
    require(dataset.title, folder, dataset.files)
    arrays: dict[str, NDArray[np.uint8]] = {}
    records = []
    for file in dataset.files:
        content, record = read_official(folder, file)
        arrays[file.name] = parse_idx(content, folder / file.name, dimensions=3 if "images" in file.name else 1)
        records.append(record)
    for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        check_labels(arrays[labels], folder / labels, count=len(arrays[images]), classes=CLASSES)
    tables = Tables(
        arrays[TRAIN_IMAGES][:, None],
        arrays[TRAIN_LABELS].astype(np.int64),
        arrays[TEST_IMAGES][:, None],
        arrays[TEST_LABELS].astype(np.int64),
    )
    return tables, Fingerprint.of(records)


class _IdxImages(Dataset[MnistOptions]):
    """What the two sets share."""

    kind = "classification"
    sizes = {"train": 60_000, "test": 10_000}
    usual_network = {"kind": "mlp"}
    Options: ClassVar[type[DatasetOptions]] = MnistOptions
    mean_and_deviation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]  # of the published training pixels

    @classmethod
    def task(cls, options: MnistOptions) -> Task:
        return options.image_task((1, SIDE, SIDE), CLASSES)

    @classmethod
    def read(cls, options: MnistOptions, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import load_tables

        tables, fingerprint = read_idx_set(cls, loading)
        return load_tables(
            cls.name,
            tables,
            cls.task(options),
            options,
            fingerprint,
            loading,
            mean_and_deviation=cls.mean_and_deviation,
        )


class Mnist(_IdxImages):
    """Handwritten digits."""

    name = "mnist"
    title = "MNIST"
    summary = "70,000 handwritten digits, 28 x 28 grey pixels, 10 classes"
    source = "LeCun, Cortes, Burges (1998), http://yann.lecun.com/exdb/mnist/"
    licence = "CC BY-SA 3.0"
    folder = "mnist"
    mean_and_deviation = ((0.1307,), (0.3081,))
    files = idx_files(
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        {
            TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        {
            TRAIN_IMAGES: (9_912_422, "md5", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            TRAIN_LABELS: (28_881, "md5", "d53e105ee54ea40749a09fcbcd1e9432"),
            TEST_IMAGES: (1_648_877, "md5", "9fb629c4189551a2d022fa330f9573f3"),
            TEST_LABELS: (4_542, "md5", "ec29112dd5afa0611ce80d1b7f02629c"),
        },
    )


class FashionMnist(_IdxImages):
    """Garments, in MNIST's format."""

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    summary = "70,000 garments, 28 x 28 grey pixels, 10 classes; harder than MNIST at the same size"
    source = "Xiao, Rasul, Vollgraf (2017), arXiv 1708.07747, https://github.com/zalandoresearch/fashion-mnist"
    licence = "MIT"
    folder = "fashion-mnist"
    mean_and_deviation = ((0.2860,), (0.3530,))
    files = idx_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        {
            TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        {
            TRAIN_IMAGES: (26_421_880, "md5", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            TRAIN_LABELS: (29_515, "md5", "25c81989df183df01b3e8a0aad5dffbe"),
            TEST_IMAGES: (4_422_102, "md5", "bef4ecab320f06d8554ea6380940ec79"),
            TEST_LABELS: (5_148, "md5", "bb300cfdad3c16e7a12a480ee83cd310"),
        },
    )
