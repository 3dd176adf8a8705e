"""Private folders for the files of a trainer, and the removal of those whose worker is dead.

SCRATCH/worker-UUID/lock       held while the worker lives
SCRATCH/worker-UUID/JOB/       the checkpoint it starts from, and what the trainer writes
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from django.conf import settings

from service.jobs.errors import StorageFull


def scratch_root() -> Path:
    """ALTPROP_SCRATCH_DIR of the settings or the environment, else a folder among the system's temporary ones."""
    named = getattr(settings, "ALTPROP_SCRATCH_DIR", None) or os.environ.get("ALTPROP_SCRATCH_DIR")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"altprop-scratch-{os.getuid()}"


class Scratch:
    """A worker's own folder, gone when the worker is; `sweep` removes those of workers that were killed."""

    def __init__(self, worker: UUID) -> None:
        root = scratch_root()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(root)
        self.folder = root / f"worker-{worker}"
        self.folder.mkdir(mode=0o700)
        # Not inherited by the trainer (PEP 446): only this process holds it.
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @contextlib.contextmanager
    def for_job(self, job: UUID) -> Iterator[Path]:
        """An empty folder, removed afterwards. Raises StorageFull where not even that can be made."""
        folder = self.folder / str(job)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StorageFull(f"The folder for the trainer's files cannot be made: {error.strerror}.") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def sweep(root: Path) -> None:
    """Remove the folders whose worker no longer lives."""
    for folder in root.glob("worker-*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR)
        except OSError:
            continue  # being made, or being removed
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its worker lives
        finally:
            os.close(lock)
