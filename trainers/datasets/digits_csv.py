"""The digits in scikit-learn's wheel: lines of 64 pixels (0..16) and a label. scikit-learn is not imported."""

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DatasetUnavailable

SIDE, BRIGHTEST, CLASSES = 8, 16, 10
MAX_BYTES = 4_000_000


def digits_path() -> Path:
    """Where the installed wheel keeps the file. Raises DatasetUnavailable without scikit-learn."""
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DatasetUnavailable(
            "digits lies in scikit-learn's wheel, which is not installed: pip install scikit-learn."
        )
    return Path(next(iter(found.submodule_search_locations))) / "datasets" / "data" / "digits.csv.gz"


def read_csv(path: Path) -> bytes:
    """The uncompressed file. Raises DatasetUnavailable when it is missing, broken or absurdly large."""
    try:
        with gzip.open(path) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetUnavailable(f"{path} cannot be read: {error}. Reinstall scikit-learn.") from None
    if len(content) > MAX_BYTES:
        raise DatasetUnavailable(f"{path} is larger than {MAX_BYTES:,} bytes, and no file of digits.")
    return content


def parse_csv(content: bytes, path: Path | str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (count, 1, 8, 8) with values 0..16, and labels (count,). Raises DatasetUnavailable for anything else."""
    columns = SIDE * SIDE + 1
    try:
        table = np.loadtxt(content.decode("ascii").splitlines(), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DatasetUnavailable(f"{path} is no table of numbers: {error}.") from None
    if table.size == 0 or table.shape[1] != columns:
        raise DatasetUnavailable(f"{path} holds a table of {table.shape}; rows of {columns} numbers are expected.")
    pixels, labels = table[:, :-1], table[:, -1]
    for what, values, highest in (("pixels", pixels, BRIGHTEST), ("labels", labels, CLASSES - 1)):
        if not ((values >= 0) & (values <= highest) & (values == np.floor(values))).all():
            raise DatasetUnavailable(f"{path} holds {what} that are not whole numbers of 0..{highest}.")
    return pixels.astype(np.uint8).reshape(-1, 1, SIDE, SIDE), labels.astype(np.uint8)
