"""What a data set says of itself, readable without torch: its task, options, files, source and licence.

A data set is a class with facts as attributes and two class methods: `task` (the shapes that a network must fit)
and `load` (the only one that imports torch). The registry finds the classes by name.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from trainers.spec import StrictModel

if TYPE_CHECKING:
    import torch

    from trainers.datasets.loaded import LoadedDataset

TaskKind = Literal[
    "classification", "regression", "sequence_classification", "next_symbol", "sequence_bits", "digit_counting"
]
Split = Literal["train", "validation", "test"]
Normalization = Literal["unit", "standard"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a network must fit.

    kind                      inputs of a batch               targets of a batch
    classification            (batch, *input_shape) float     (batch,) int64 class
    regression                (batch, *input_shape) float     (batch, outputs) float
    sequence_classification   (batch, time, *input_shape)     (batch,) int64 class, of the whole sequence
    next_symbol               (batch, time) int64 symbol      (batch, time) int64 symbol, the next one
    sequence_bits             (batch, time, *input_shape)     (batch, time, outputs) float, 0 or 1
    digit_counting            (batch, time, *input_shape)     (batch, 2) int64 counts, one column a head, at the end;
                                                              (batch, time / ticks, 2): after every so many steps
    """

    kind: TaskKind
    input_shape: tuple[int, ...]  # of one sample, or of one time step of it; () for a symbol
    outputs: int  # classes, values, symbols or bits; where there are heads, all of their classes
    time_steps: int | None = None  # in one sample; None: not a sequence, or of varying length
    symbols: int | None = None  # inputs are ids of 0..symbols-1
    heads: Mapping[str, int] = field(default_factory=dict)  # classes of each head where there are several
    ticks: int | None = None  # time steps between answers, where two networks run at different rates


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the network: mirrors in the order in which they are tried, its size and its sum as transferred."""

    urls: tuple[str, ...]
    size: int
    sum_name: Literal["md5", "sha256"]
    digest: str

    @property
    def name(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of a published data set and its official size and sum, *uncompressed*: the compression may vary."""

    name: str
    size: int
    sum_name: Literal["sha1", "sha256"]
    digest: str
    remote: Remote | None = None  # None: it comes out of an archive


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far the transfer of one file is."""

    file: str
    received: int
    total: int
    url: str


ProgressCallback = Callable[[DownloadProgress], None]


@dataclass(frozen=True, slots=True)
class Loading:
    """Where data go and where they come from; the arguments of `Dataset.load`."""

    seed: int
    device: "torch.device"
    dtype: "torch.dtype"
    data_dir: Path
    download: bool
    progress: ProgressCallback | None


class DatasetOptions(StrictModel):
    """Base of the options of all data sets."""


class LabelledOptions(DatasetOptions):
    """Options that all sets of labelled samples share."""

    validation_size: int | None = Field(
        default=None, ge=1, description="samples taken from the training set, by seed; null: a tenth of it"
    )
    train_size: int | None = Field(
        default=None, ge=1, description="train on this many samples only, drawn by seed; null: on all that are left"
    )
    normalize: Normalization = Field(
        default="unit", description="unit: pixels in 0..1; standard: less the mean, over the standard deviation"
    )
    shuffle: bool = Field(default=True, description="a new order every epoch, by seed; false: the order of the files")
    drop_last: bool = Field(
        default=False,
        description="leave out an epoch's last batch when it is smaller; false: every sample is seen once an epoch. "
        "A last batch of one sample has no variance for batch norm to go by",
    )


class ImageOptions(LabelledOptions):
    """Options of sets of images: augmentation too."""

    crop_padding: int = Field(
        default=0,
        ge=0,
        le=16,
        description="train on random crops of the image padded with this many black pixels on each side; 0: none",
    )
    flip: bool = Field(default=False, description="train on images mirrored left to right with probability 1/2")


class ReconstructibleOptions(ImageOptions):
    """Options of sets of images that auto-encoders may be trained on."""

    targets: Literal["labels", "inputs"] = Field(
        default="labels", description="what a network is to put out: the label, or the image itself (an auto-encoder)"
    )

    def image_task(self, input_shape: tuple[int, ...], classes: int) -> Task:
        """Classification, or the regression of all pixels on themselves."""
        if self.targets == "inputs":
            return Task("regression", input_shape, math.prod(input_shape))
        return Task("classification", input_shape, classes)


O = TypeVar("O", bound=DatasetOptions)


class Dataset(ABC, Generic[O]):
    """Base of all data sets; its attributes are the facts that lists and pages show."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    kind: ClassVar[TaskKind]
    source: ClassVar[str]
    licence: ClassVar[str]
    sizes: ClassVar[Mapping[str, int]]  # samples (characters for text) by file split; {} for streams and user's arrays
    usual_network: ClassVar[Mapping[str, Any]]  # trained when a spec names none
    folder: ClassVar[str | None] = None  # below the data directory
    files: ClassVar[tuple[KnownFile, ...]] = ()
    endless: ClassVar[bool] = False  # a stream: `training.steps_per_epoch` says how long an epoch is
    Options: ClassVar[type[DatasetOptions]]

    @classmethod
    @abstractmethod
    def task(cls, options: O) -> Task:
        """What a network must fit. Reads no data, except for a user's arrays."""

    @classmethod
    @abstractmethod
    def read(cls, options: O, loading: Loading) -> "LoadedDataset":
        """What each data set does to be loaded; see `load`."""

    @classmethod
    def load(
        cls,
        options: O,
        *,
        seed: int,
        device: "torch.device | str" = "cpu",
        dtype: "torch.dtype | None" = None,
        data_dir: Path | None = None,
        download: bool = True,
        progress: ProgressCallback | None = None,
    ) -> "LoadedDataset":
        """The data, checked and on the device.

        seed decides the validation split and, later, order and augmentation; dtype is that of float inputs (default
        float32); data_dir defaults to ALTPROP_DATA_DIR, else ~/.cache/altprop. Missing files are downloaded.

        Raises DatasetUnavailable when files are missing, broken or altered, SpecError when options do not fit the data.
        """
        import torch

        from trainers.datasets.files import data_directory

        loading = Loading(
            seed, torch.device(device), dtype or torch.float32, data_directory(data_dir), download, progress
        )
        return cls.read(options, loading)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """All of it as JSON-ready facts, the options as a JSON Schema."""
        return {
            "name": cls.name,
            "title": cls.title,
            "summary": cls.summary,
            "kind": cls.kind,
            "source": cls.source,
            "licence": cls.licence,
            "sizes": dict(cls.sizes),
            "endless": cls.endless,
            "usual_network": dict(cls.usual_network),
            "files": [
                {"path": f"{cls.folder}/{file.name}", "bytes": file.size, file.sum_name: file.digest}
                for file in cls.files
            ],
            "options": cls.Options.model_json_schema(),
        }
