"""Arrays of a user's own, from a NumPy .npz file: x_train, y_train and, if there is a test set, x_test, y_test.

The file comes from anywhere, so it is looked at before it is believed: no pickles, sizes from the headers first, then
types, shapes, finite values and the range of labels. Every error names the array and says what is expected.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.errors import DatasetUnavailable

MAX_BYTES = 4 << 30  # uncompressed, all arrays together
REQUIRED, OPTIONAL = ("x_train", "y_train"), ("x_test", "y_test")


@dataclass(frozen=True, slots=True)
class Header:
    """What an array's header announces."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"


def read_headers(path: Path) -> dict[str, Header]:
    """Shapes and types of the known arrays, without their contents.

    Raises DatasetUnavailable for a file that is missing, no .npz or too large, has other arrays, lacks one, or holds
    objects.
    """
    headers: dict[str, Header] = {}
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name not in REQUIRED + OPTIONAL:
                    raise DatasetUnavailable(
                        f"{path} holds {member.filename!r}; it may hold x_train, y_train, x_test and y_test, no other."
                    )
                with archive.open(member) as stream:
                    header = _header(stream, f"{name} in {path}")
                headers[name] = header
                # The header's own claim, not the archive's: it is what would be allocated.
                total += header.dtype.itemsize * int(np.prod(header.shape, dtype=object))
    except FileNotFoundError:
        raise DatasetUnavailable(f"There is no file {path}.") from None
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise DatasetUnavailable(f"{path} cannot be read as an .npz file: {error}.") from None
    if total > MAX_BYTES:
        raise DatasetUnavailable(f"{path} holds {total:,} bytes of arrays; at most {MAX_BYTES:,} are allowed.")
    for name in REQUIRED + (OPTIONAL if any(name in headers for name in OPTIONAL) else ()):
        if name not in headers:
            raise DatasetUnavailable(f"{path} lacks {name}; it holds {', '.join(sorted(headers)) or 'nothing'}.")
    return headers


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays themselves. Raises DatasetUnavailable as `read_headers`, and for truncated contents."""
    headers = read_headers(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in headers}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetUnavailable(f"{path} is broken: {error}.") from None


def checked_inputs(array: NDArray[Any], name: str, *, sequences: bool) -> NDArray[Any]:
    """uint8 or float32 inputs: (n, features), (n, channels, height, width) or, for sequences, (n, time, features).

    (n, height, width) becomes one channel, (n, time) one feature. Raises DatasetUnavailable for anything else, empty
    arrays, and values that are not finite.
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DatasetUnavailable(f"{name} has type {array.dtype}; uint8 (pixels) or a float type is expected.")
    if 0 in array.shape or array.ndim == 0:
        raise DatasetUnavailable(f"{name} is empty: its shape is {array.shape}.")
    allowed = (2, 3) if sequences else (2, 3, 4)
    if array.ndim not in allowed:
        shapes = (
            "(n, time, features)" if sequences else "(n, features), (n, height, width) or (n, channels, height, width)"
        )
        raise DatasetUnavailable(f"{name} has shape {array.shape}; {shapes} is expected.")
    if array.ndim == 4 and array.shape[-1] in (1, 3, 4) and array.shape[1] not in (1, 3, 4):
        raise DatasetUnavailable(
            f"{name} has shape {array.shape}, which looks like channels last; (n, channels, height, width) is expected."
        )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = _finite(array, name).astype(np.float32)
        _finite(array, f"{name} as float32")
    if sequences:
        return array[:, :, None] if array.ndim == 2 else array
    return array[:, None] if array.ndim == 3 else array


def checked_labels(array: NDArray[Any], name: str, *, count: int, classes: int | None) -> NDArray[np.int64]:
    """int64 classes (n,). Raises DatasetUnavailable for other types, shapes, counts, and labels out of range."""
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype.kind not in "iu":
        raise DatasetUnavailable(f"{name} has type {array.dtype}; class labels are whole numbers (an integer type).")
    if array.shape != (count,):
        raise DatasetUnavailable(
            f"{name} has shape {array.shape}; one label for each of {count:,} samples is expected."
        )
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or (classes is not None and highest >= classes):
        wrong = lowest if lowest < 0 else highest
        allowed = f"0..{classes - 1}" if classes is not None else "0 and up"
        raise DatasetUnavailable(f"{name} holds label {wrong}; {allowed} is allowed.")
    return array.astype(np.int64)


def checked_values(array: NDArray[Any], name: str, *, count: int) -> NDArray[np.float32]:
    """float32 values (n, k) to be predicted. Raises DatasetUnavailable for other types, shapes, and non-finite ones."""
    if array.dtype.kind not in "iuf":
        raise DatasetUnavailable(f"{name} has type {array.dtype}; numbers are expected.")
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] != count or array.shape[1] == 0:
        raise DatasetUnavailable(f"{name} has shape {array.shape}; ({count}, values) is expected.")
    with np.errstate(over="ignore"):
        return _finite(array.astype(np.float32), name)


def _finite(array: NDArray[Any], name: str) -> NDArray[Any]:
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise DatasetUnavailable(f"{name} holds {array[where]} at {where}; finite numbers are expected.")
    return array


def _header(stream: Any, name: str) -> Header:
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
    except KeyError:
        raise DatasetUnavailable(f"{name} is an array of an unknown format version.") from None
    except ValueError as error:
        raise DatasetUnavailable(f"{name} is no NumPy array: {error}.") from None
    if dtype.hasobject:
        raise DatasetUnavailable(f"{name} holds Python objects, which are never loaded; plain numbers are expected.")
    return Header(shape, dtype)
