"""cifar10: 50,000 + 10,000 colour images of 32 x 32 pixels, in six binary files out of one archive."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from trainers.datasets.cifar_binary import CHANNELS, CLASSES, SIDE, check_balance, parse_records
from trainers.datasets.declaration import Dataset, KnownFile, Loading, ReconstructibleOptions, Remote, Task
from trainers.datasets.download import fetch_missing
from trainers.datasets.files import (
    Fingerprint,
    missing_files,
    read_copy,
    remember_copies,
    require,
    write_whole,
)
from trainers.errors import DatasetUnavailable

if TYPE_CHECKING:
    from trainers.datasets.image_tables import Tables
    from trainers.datasets.indexed import LoadedSamples

ARCHIVE = Remote(
    (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/cifar10/cifar-10-binary.tar.gz",
    ),
    170_052_171,
    "sha256",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
FILE_BYTES = 30_730_000
FILES = tuple(
    KnownFile(name, FILE_BYTES, "sha1", digest)
    for name, digest in {
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
        "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
    }.items()
)


class Cifar10Options(ReconstructibleOptions):
    """`dataset_options` of cifar10."""

    validation_size: int | None = Field(
        default=5_000, ge=1, le=49_999, description="samples taken from the training set, by seed; null: a tenth of it"
    )


class Cifar10(Dataset[Cifar10Options]):
    """Copies in another encoding are accepted when their counts are right, and reported as what they are."""

    name = "cifar10"
    title = "CIFAR-10"
    summary = "60,000 small colour photographs, 32 x 32 pixels, 10 classes"
    kind = "classification"
    source = "Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html"
    licence = "free to use with citation of Krizhevsky 2009"
    sizes = {"train": 50_000, "test": 10_000}
    usual_network = {"kind": "convnet"}
    folder = "cifar-10-batches-bin"
    files = FILES
    archive: ClassVar[Remote] = ARCHIVE
    Options = Cifar10Options
    mean_and_deviation = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))  # of the published training pixels

    @classmethod
    def task(cls, options: Cifar10Options) -> Task:
        return options.image_task((CHANNELS, SIDE, SIDE), CLASSES)

    @classmethod
    def read(cls, options: Cifar10Options, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import load_tables

        folder = loading.data_dir / cls.folder
        if loading.download:
            fetch_missing(
                cls.title,
                folder,
                lambda: [cls.archive] if missing_files(folder, cls.files) else [],
                arrive=lambda archive: open_archive(archive, cls.files),
                progress=loading.progress,
            )
        require(cls.title, folder, cls.files)
        tables, fingerprint = read_batches(folder, cls.files)
        return load_tables(
            cls.name,
            tables,
            cls.task(options),
            options,
            fingerprint,
            loading,
            mean_and_deviation=cls.mean_and_deviation,
        )


def read_batches(folder: Path, files: Sequence[KnownFile]) -> tuple["Tables", Fingerprint]:
    """The files, the last of them the test set, all classes equal in number; official only if every sum is."""
    from trainers.datasets.image_tables import Tables

    images, labels, records = [], [], []
    for file in files:
        content, record = read_copy(folder, file)
        pixels, classes = parse_records(content, folder / file.name)
        images.append(pixels)
        labels.append(classes.astype(np.int64))
        records.append(record)
    train_labels = np.concatenate(labels[:-1])
    check_balance(train_labels, folder, per_class=len(train_labels) // CLASSES)
    check_balance(labels[-1], folder / files[-1].name, per_class=len(labels[-1]) // CLASSES)
    remember_copies(folder, records)
    fingerprint = Fingerprint.of(
        records,
        unofficial=f"The images in {folder.name} are a copy of CIFAR-10 whose bytes differ from the published files "
        "(perhaps recompressed with loss): figures from it are not exactly those of the official set.",
    )
    return Tables(np.concatenate(images[:-1]), train_labels, images[-1], labels[-1]), fingerprint


def open_archive(archive: Path, files: Sequence[KnownFile]) -> None:
    """Take the files out of a verified archive into its folder, then remove it."""
    wanted = {f"{Cifar10.folder}/{file.name}": file for file in files}
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                file = wanted.pop(member.name, None)
                stream = members.extractfile(member) if file is not None and member.isreg() else None
                if file is None or stream is None:
                    continue
                write_whole(archive.with_name(file.name), stream.read(file.size))
    except tarfile.TarError as error:
        raise DatasetUnavailable(f"{archive} cannot be opened: {error}. Remove it and try again.") from None
    if wanted:
        raise DatasetUnavailable(f"{archive} lacks {', '.join(sorted(wanted))}.")
    archive.unlink()
