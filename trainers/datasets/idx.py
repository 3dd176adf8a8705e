"""The IDX format of MNIST and its relatives: a magic number, big-endian sizes, then unsigned bytes."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DatasetUnavailable

UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, path: Path | str, *, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file's bytes, without a copy; `path` is for errors.

    Raises DatasetUnavailable for an empty or truncated file, a wrong magic number, type or number of dimensions, and
    for bytes that are left over.
    """
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DatasetUnavailable(
            f"{path} is truncated: its header of {dimensions} dimensions takes {header} bytes, it has {len(content)}."
        )
    zero, kind, rank = struct.unpack_from(">HBB", content)
    if zero != 0:
        raise DatasetUnavailable(f"{path} is no IDX file: its first two bytes are {content[:2].hex()}, not 0000.")
    if kind != UNSIGNED_BYTE:
        raise DatasetUnavailable(f"{path} holds IDX type 0x{kind:02x}; unsigned bytes (0x08) are expected.")
    if rank != dimensions:
        raise DatasetUnavailable(f"{path} has {rank} dimensions; {dimensions} are expected.")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DatasetUnavailable(
            f"{path} announces {' x '.join(map(str, shape))} = {expected:,} bytes and holds {len(content) - header:,}."
        )
    if expected == 0:
        raise DatasetUnavailable(f"{path} holds no samples.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def check_labels(labels: NDArray[np.uint8], path: Path | str, *, count: int, classes: int) -> None:
    """Raises DatasetUnavailable unless there is one label an image, all below `classes`."""
    if len(labels) != count:
        raise DatasetUnavailable(f"{path} holds {len(labels):,} labels for {count:,} images.")
    if int(labels.max()) >= classes:
        raise DatasetUnavailable(f"{path} holds label {int(labels.max())}; labels are 0..{classes - 1}.")
