"""Files of data sets on disk: where they lie, read whole, compared with their official sums.

Content is compared, never the compression: a recompressed file holds the same data. What was really read is recorded
as a `Fingerprint`, which every run reports.
"""

import contextlib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.datasets.declaration import KnownFile
from trainers.errors import DatasetUnavailable

RECORD = "altprop-sums.json"  # sums of files that are no official copy, as first seen


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as it was read: the SHA-256 of its uncompressed bytes, and whether those are the published ones."""

    name: str
    sha256: str
    official: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a run really trains on.

    sha256 is that of the lines "<sha256 of the file's uncompressed bytes>  <name>\\n", so `sha256sum` over the
    uncompressed files, piped into `sha256sum`, repeats it. `sentence` says so when the bytes are not the official ones.
    """

    sha256: str
    files: dict[str, str]
    official: bool
    sentence: str | None = None

    @classmethod
    def of(cls, records: Iterable[FileRecord], *, unofficial: str | None = None) -> "Fingerprint":
        records = list(records)
        lines = "".join(f"{record.sha256}  {record.name}\n" for record in records)
        official = all(record.official for record in records)
        return cls(
            sha256=hashlib.sha256(lines.encode()).hexdigest(),
            files={record.name: record.sha256 for record in records},
            official=official,
            sentence=None if official else unofficial,
        )

    @classmethod
    def of_generator(cls, recipe: dict[str, Any]) -> "Fingerprint":
        """Of generated data: the sum is that of its recipe, from which the data follow."""
        text = json.dumps(recipe, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(sha256=digest, files={}, official=True)


def data_directory(data_dir: Path | None = None) -> Path:
    """The folder with all data sets: the one given, else ALTPROP_DATA_DIR, else ~/.cache/altprop."""
    if data_dir is not None:
        return data_dir
    named = os.environ.get("ALTPROP_DATA_DIR")
    return Path(named) if named else Path.home() / ".cache" / "altprop"


def find(folder: Path, name: str) -> Path | None:
    """The file, gzipped or not, or None."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def read_whole(path: Path, *, expected_size: int) -> bytes:
    """All bytes of a file, uncompressed when its name ends in .gz.

    Raises DatasetUnavailable when it cannot be read, is truncated or has another size than expected. Reading stops one
    byte past expected_size, so that no file can fill the memory.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content: bytes = stream.read(expected_size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetUnavailable(
            f"{path} is truncated or no gzip file ({error}); it should hold {expected_size:,} bytes uncompressed. "
            "Remove it to have it downloaded again."
        ) from None
    except OSError as error:
        raise DatasetUnavailable(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) != expected_size:
        came = f"more than {expected_size:,}" if len(content) > expected_size else f"{len(content):,}"
        raise DatasetUnavailable(
            f"{path} holds {came} bytes uncompressed; {expected_size:,} are expected. "
            "Remove it to have it downloaded again."
        )
    return content


def missing_files(folder: Path, files: Iterable[KnownFile]) -> list[KnownFile]:
    """Those that are not in folder, neither gzipped nor plain."""
    return [file for file in files if find(folder, file.name) is None]


def require(title: str, folder: Path, files: Iterable[KnownFile]) -> None:
    """Raises DatasetUnavailable that names the files that are not there."""
    missing = missing_files(folder, files)
    if missing:
        names = ", ".join(file.name for file in missing)
        raise DatasetUnavailable(
            f"{title} is not complete: {folder} lacks {names} (gzipped or not), and downloading is off. "
            "Place them there, or set ALTPROP_DATA_DIR to the folder that holds them."
        )


def read_official(folder: Path, file: KnownFile) -> tuple[bytes, FileRecord]:
    """A file that must be the published one. Raises DatasetUnavailable that names the file and both sums."""
    path = _found(folder, file)
    content = read_whole(path, expected_size=file.size)
    record = _record(file, content)
    if not record.official:
        raise DatasetUnavailable(
            f"{path} is not the published file: the {file.sum_name} of its content is "
            f"{_digest(file.sum_name, content)}, and {file.digest} is expected. Remove it to have it downloaded again."
        )
    return content, record


def read_copy(folder: Path, file: KnownFile) -> tuple[bytes, FileRecord]:
    """A file that may be another encoding of the published one; the caller checks shape and counts.

    The sum of such a copy is written down beside it when it is first seen; DatasetUnavailable when it changes later.
    """
    path = _found(folder, file)
    content = read_whole(path, expected_size=file.size)
    return content, _record(file, content)


def remember_copies(folder: Path, records: Iterable[FileRecord]) -> None:
    """Write down the sums of unofficial files, and refuse one that is no longer what it was."""
    copies = {record.name: record.sha256 for record in records if not record.official}
    if not copies:
        return
    path = folder / RECORD
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    for name, sha256 in copies.items():
        if isinstance(known, dict) and known.get(name, sha256) != sha256:
            raise DatasetUnavailable(
                f"{folder / name} has changed: its SHA-256 is {sha256}, and {known[name]} when it was first read. "
                f"Restore it, or remove {path} if the change is meant."
            )
    if known != copies:
        # A folder that cannot be written to still serves: then only the run's own record tells of a change.
        with contextlib.suppress(OSError):
            write_whole(path, json.dumps(copies, indent=1, sort_keys=True).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: a half-written file is never taken for a whole one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _found(folder: Path, file: KnownFile) -> Path:
    path = find(folder, file.name)
    if path is None:
        raise DatasetUnavailable(f"{file.name} is not in {folder}.")
    return path


def _record(file: KnownFile, content: bytes) -> FileRecord:
    sha256 = _digest("sha256", content)
    digest = sha256 if file.sum_name == "sha256" else _digest(file.sum_name, content)
    return FileRecord(file.name, sha256, official=digest == file.digest)


def _digest(sum_name: str, content: bytes) -> str:
    return hashlib.new(sum_name, content, usedforsecurity=False).hexdigest()
