"""Files of data sets from the network: mirrors in turn, resumed, checked, renamed when whole, one process at a time.

A transfer goes on where an earlier one broke off (HTTP Range), also from another mirror; only a file with the right
sum ever gets its name. Nothing here knows a format: archives are opened by the data set that has one.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import httpx
from filelock import FileLock

from trainers.datasets.declaration import DownloadProgress, ProgressCallback, Remote
from trainers.errors import DatasetUnavailable

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
ROUNDS = 2  # times that each mirror is tried


class _Refused(Exception):
    """A mirror's answer that cannot be used; its text says why."""


def fetch_missing(
    title: str,
    folder: Path,
    missing: Callable[[], list[Remote]],
    *,
    arrive: Callable[[Path], None] | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Download what `missing()` names into folder, while no other process does the same.

    `missing` is asked again once the lock is held, since another process may have done the work meanwhile. `arrive` is
    called with each whole file, e.g. to open an archive. Raises DatasetUnavailable that names what was tried and what
    to do instead.
    """
    if not missing():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        with lock, httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            for remote in missing():
                destination = folder / remote.name
                _fetch(client, title, remote, destination, progress)
                if arrive is not None:
                    arrive(destination)
    except OSError as error:
        raise DatasetUnavailable(
            f"{title} cannot be stored in {folder}: {error.strerror or error}. Set ALTPROP_DATA_DIR to a folder that "
            "can be written to and has enough room."
        ) from error


def _fetch(
    client: httpx.Client, title: str, remote: Remote, destination: Path, progress: ProgressCallback | None
) -> None:
    part = destination.with_name(f"{destination.name}.part")
    tried: dict[str, str] = {}
    for _ in range(ROUNDS):
        for url in remote.urls:
            try:
                _transfer(client, url, remote, part, progress)
            except (_Refused, httpx.HTTPError) as reason:
                tried[url] = str(reason) or type(reason).__name__
            else:
                os.replace(part, destination)
                return
    attempts = "; ".join(f"{url} ({reason})" for url, reason in tried.items())
    raise DatasetUnavailable(
        f"{title} is not complete in {destination.parent} and {remote.name} could not be downloaded: {attempts}. "
        f"Check the connection, or place {remote.name} in {destination.parent} yourself."
    )


def _transfer(client: httpx.Client, url: str, remote: Remote, part: Path, progress: ProgressCallback | None) -> None:
    """Get the rest of the file from this mirror. Raises _Refused; what came stays in `part` unless it is wrong."""
    resumed = part.exists() and part.stat().st_size > 0
    _receive(client, url, remote, part, progress)
    try:
        _verify(remote, part)
    except _Refused:
        if not resumed:
            raise
        # The earlier part may have been another mirror's rubbish: this one gets a chance from the first byte.
        _receive(client, url, remote, part, progress)
        _verify(remote, part)


def _receive(client: httpx.Client, url: str, remote: Remote, part: Path, progress: ProgressCallback | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have == remote.size:
        return
    if have > remote.size:
        part.unlink()
        have = 0
    # "identity": the sum is that of the file as it lies there, not of what a server might make of it.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        have = _start_of(response, have)
        with part.open("ab" if have else "wb") as stream:
            for piece in response.iter_raw():
                have += len(piece)
                if have > remote.size:
                    break
                stream.write(piece)
                if progress is not None:
                    progress(DownloadProgress(remote.name, have, remote.size, url))
            stream.flush()
            os.fsync(stream.fileno())
    if have > remote.size:
        part.unlink()
        raise _Refused(f"sent more than the expected {remote.size:,} bytes")
    if have < remote.size:
        raise _Refused(f"sent {have:,} of {remote.size:,} bytes")


def _start_of(response: httpx.Response, asked: int) -> int:
    """The position in the file at which this answer begins."""
    if response.status_code == 200:
        return 0
    if response.status_code == 206:
        span = response.headers.get("Content-Range", "")
        if span.startswith(f"bytes {asked}-"):
            return asked
        raise _Refused(f"answered with another range than asked for: {span or 'none named'}")
    raise _Refused(f"HTTP {response.status_code}")


def _verify(remote: Remote, part: Path) -> None:
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.new(remote.sum_name, usedforsecurity=False)).hexdigest()
    if digest != remote.digest:
        part.unlink()
        raise _Refused(f"sent another file: its {remote.sum_name} is {digest}, and {remote.digest} is expected")
