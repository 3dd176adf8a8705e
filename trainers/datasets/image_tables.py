"""From arrays of images and labels, as the readers give them, to a loaded set: split, scaled, on the device."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.datasets.augmentation import CropAndFlip
from trainers.datasets.declaration import ImageOptions, LabelledOptions, Loading, ReconstructibleOptions, Task
from trainers.datasets.files import Fingerprint
from trainers.datasets.indexed import LoadedSamples, Scaling
from trainers.datasets.splits import Samples, hold_out


@dataclass(frozen=True, slots=True)
class Tables:
    """Training and test arrays of one data set, on the CPU: inputs (samples, *shape), targets (samples, …)."""

    train_inputs: NDArray[Any]
    train_targets: NDArray[Any]
    test_inputs: NDArray[Any]
    test_targets: NDArray[Any]


def load_tables(
    name: str,
    tables: Tables,
    task: Task,
    options: LabelledOptions,
    fingerprint: Fingerprint,
    loading: Loading,
    *,
    brightest: int = 255,
    mean_and_deviation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    sample_shape: tuple[int, ...] | None = None,
) -> LoadedSamples:
    """Split by seed and put on the device.

    mean_and_deviation, one value a channel in units of 0..1, are the published ones for `normalize: standard`; without
    them they are measured on the training split. sample_shape is how the network sees a sample, if not as it is stored.
    """
    device = loading.device
    train_rows, validation_rows = hold_out(len(tables.train_inputs), options, loading.seed)
    inputs, targets = _put(tables.train_inputs, device), _put(tables.train_targets, device)
    test = Samples(
        _put(tables.test_inputs, device),
        _put(tables.test_targets, device),
        torch.arange(len(tables.test_inputs), device=device),
    )
    train = Samples(inputs, targets, train_rows.to(device))
    if options.normalize == "unit":
        scaling = Scaling(factor=1 / brightest) if inputs.dtype == torch.uint8 else Scaling()
    elif mean_and_deviation is not None:
        scaling = _published(*mean_and_deviation, brightest, device)
    else:
        scaling = _measured(train)
    augmentation = None
    if isinstance(options, ImageOptions) and (options.crop_padding or options.flip):
        augmentation = CropAndFlip(options.crop_padding, options.flip)
    return LoadedSamples(
        name=name,
        task=task,
        fingerprint=fingerprint,
        seed=loading.seed,
        train=train,
        validation=Samples(inputs, targets, validation_rows.to(device)),
        test=test,
        scaling=scaling,
        sample_shape=sample_shape or tuple(inputs.shape[1:]),
        dtype=loading.dtype,
        shuffle=options.shuffle,
        drop_last=options.drop_last,
        augmentation=augmentation,
        reconstructs=isinstance(options, ReconstructibleOptions) and options.targets == "inputs",
    )


def _put(array: NDArray[Any], device: torch.device) -> Tensor:
    # Copied on the way: the readers' arrays are views of file contents, which must be neither kept nor written to.
    tensor = torch.from_numpy(np.array(array, order="C", copy=True))
    return tensor.to(device)


def _published(
    means: tuple[float, ...], deviations: tuple[float, ...], brightest: int, device: torch.device
) -> Scaling:
    if len(means) == 1:
        return Scaling(shift=means[0] * brightest, factor=1 / (deviations[0] * brightest))
    shape = (-1, 1, 1)
    return Scaling(
        shift=torch.tensor(means, device=device).view(shape) * brightest,
        factor=1 / (torch.tensor(deviations, device=device).view(shape) * brightest),
    )


def _measured(train: Samples) -> Scaling:
    """Mean and deviation of the training split: a value a channel for images, a value a column for plain features."""
    table = train.inputs[train.rows].double()
    dimensions = [0] if table.dim() == 2 else [0, *range(2, table.dim())]
    mean, deviation = table.mean(dimensions, keepdim=True)[0], table.std(dimensions, correction=0, keepdim=True)[0]
    # What never varies stays 0 after the shift, whatever it is divided by.
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return Scaling(shift=mean.float(), factor=(1 / deviation).float())
