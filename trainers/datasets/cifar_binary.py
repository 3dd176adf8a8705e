"""The binary version of CIFAR-10: records of one label byte and 3,072 pixel bytes (1,024 red, green, blue)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DatasetUnavailable

CHANNELS, SIDE, CLASSES = 3, 32, 10
RECORD_BYTES = 1 + CHANNELS * SIDE * SIDE


def parse_records(content: bytes, path: Path | str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (count, 3, 32, 32) and labels (count,), as views of the bytes; `path` is for errors.

    Raises DatasetUnavailable for an empty file, a broken last record and labels past 9.
    """
    if not content or len(content) % RECORD_BYTES:
        raise DatasetUnavailable(
            f"{path} holds {len(content):,} bytes; a whole number of records of {RECORD_BYTES:,} bytes is expected."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0]
    if int(labels.max()) >= CLASSES:
        raise DatasetUnavailable(f"{path} holds label {int(labels.max())}; labels are 0..{CLASSES - 1}.")
    return records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE), labels


def check_balance(labels: NDArray[np.integer], path: Path | str, *, per_class: int) -> None:
    """Raises DatasetUnavailable unless every class has that number of images."""
    counts = np.bincount(labels, minlength=CLASSES)
    if (counts != per_class).any():
        wrong = int(np.flatnonzero(counts != per_class)[0])
        raise DatasetUnavailable(f"{path} holds {counts[wrong]:,} images of class {wrong}; {per_class:,} are expected.")
