"""arrays: a data set of the user's own, from an .npz file."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trainers.datasets.declaration import Dataset, ImageOptions, Loading, Task
from trainers.datasets.files import FileRecord, Fingerprint
from trainers.datasets.npz import checked_inputs, checked_labels, checked_values, read_arrays
from trainers.errors import DatasetUnavailable, SpecError

if TYPE_CHECKING:
    from trainers.datasets.indexed import LoadedSamples


class ArraysOptions(ImageOptions):
    """`dataset_options` of arrays."""

    path: str = Field(min_length=1, description="the .npz file: x_train, y_train and, if there is one, x_test, y_test")
    task: Literal["classification", "sequence_classification", "regression"] = "classification"
    classes: int | None = Field(default=None, ge=2, description="how many; null: one more than the highest label")
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="of the samples, by a fixed draw, when the file has no x_test"
    )


class Arrays(Dataset[ArraysOptions]):
    """Checked to the last value before anything is trained on it."""

    name = "arrays"
    title = "Own arrays"
    summary = "x_train, y_train, x_test, y_test of an .npz file: features, images or sequences; classes or values"
    kind = "classification"
    source = "the user's file"
    licence = "the user's"
    sizes = {}
    usual_network = {"kind": "mlp"}
    Options = ArraysOptions

    @classmethod
    def task(cls, options: ArraysOptions) -> Task:
        """Reads and checks the file, since the shapes are there."""
        return _task(options, _checked(options))

    @classmethod
    def read(cls, options: ArraysOptions, loading: Loading) -> "LoadedSamples":
        from trainers.datasets.image_tables import Tables, load_tables

        arrays = _checked(options)
        task = _task(options, arrays)
        records = [FileRecord(name, _sha256(array), official=False) for name, array in sorted(arrays.items())]
        if "x_test" not in arrays:
            arrays = _with_test(arrays, options.test_fraction)
        return load_tables(
            cls.name,
            Tables(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"]),
            task,
            options,
            Fingerprint.of(
                records, unofficial=f"{options.path} is the user's own file; there is no published sum to compare with."
            ),
            loading,
        )


def _checked(options: ArraysOptions) -> dict[str, NDArray[Any]]:
    """The file's arrays in the types and shapes that are trained on."""
    arrays = read_arrays(Path(options.path))
    for split in ("train", "test") if "x_test" in arrays else ("train",):
        x, y = f"x_{split}", f"y_{split}"
        arrays[x] = checked_inputs(arrays[x], x, sequences=options.task == "sequence_classification")
        count = len(arrays[x])
        if options.task == "regression":
            arrays[y] = checked_values(arrays[y], y, count=count)
        else:
            arrays[y] = checked_labels(arrays[y], y, count=count, classes=options.classes)
    for name in ("x", "y"):
        train, test = arrays[f"{name}_train"], arrays.get(f"{name}_test")
        if test is not None and (test.shape[1:] != train.shape[1:] or test.dtype != train.dtype):
            raise DatasetUnavailable(
                f"{name}_test has samples of {test.dtype} {test.shape[1:]}, {name}_train of {train.dtype} "
                f"{train.shape[1:]}; they must be alike."
            )
    if (options.crop_padding or options.flip) and arrays["x_train"].ndim != 4:
        field = "crop_padding" if options.crop_padding else "flip"
        raise SpecError(
            f"#/dataset_options/{field}",
            f"{field} needs images; x_train has shape {arrays['x_train'].shape}.",
            got=getattr(options, field),
        )
    if len(arrays["x_train"]) < 3:
        raise DatasetUnavailable(f"x_train holds {len(arrays['x_train'])} samples; 3 are the least that can be split.")
    return arrays


def _task(options: ArraysOptions, arrays: dict[str, NDArray[Any]]) -> Task:
    shape, targets = arrays["x_train"].shape[1:], arrays["y_train"]
    if options.task == "regression":
        return Task("regression", shape, targets.shape[1])
    highest = max(int(labels.max()) for name, labels in arrays.items() if name.startswith("y_"))
    classes = options.classes or max(highest + 1, 2)
    if options.task == "sequence_classification":
        return Task("sequence_classification", shape[1:], classes, time_steps=shape[0])
    return Task("classification", shape, classes)


def _with_test(arrays: dict[str, NDArray[Any]], fraction: float) -> dict[str, NDArray[Any]]:
    """A test set drawn from the training arrays, the same for every seed."""
    import torch

    from trainers.streams import generator_for

    count = len(arrays["x_train"])
    size = min(max(1, round(count * fraction)), count - 2)
    order = torch.randperm(count, generator=generator_for(0, "arrays/test")).numpy()
    test, train = np.sort(order[:size]), np.sort(order[size:])
    return {
        f"{name}_{split}": arrays[f"{name}_train"][rows]
        for name in ("x", "y")
        for split, rows in (("train", train), ("test", test))
    }


def _sha256(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
