"""Folders and small private files of the local stack: who may reach them, and who holds them now."""

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.local_stack.errors import StackError

UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class Account:
    """An account of this machine that a server runs as when we are root."""

    name: str
    uid: int
    gid: int

    @property
    def identity(self) -> tuple[int, int]:
        return (self.uid, self.gid)


def default_data_folder() -> Path:
    """Where the stack keeps its data unless told otherwise: a place that an unprivileged account can reach."""
    if os.geteuid() == 0:
        return Path("/var/lib/altprop")
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:
        raise StackError("This account has no home folder to keep data in: name one with --data-dir.") from None
    return Path(base) / "altprop"


def server_account(existing_data: Path) -> Account | None:
    """Whom PostgreSQL runs as: None (ourselves) unless we are root; the owner of data that is already there."""
    if os.geteuid() != 0:
        return None
    if existing_data.exists() and (owner := existing_data.stat()).st_uid != 0:
        return Account(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in UNPRIVILEGED_ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL does not run as root, and this machine has neither an account 'postgres' nor 'nobody': "
        "create one, or start as an ordinary user."
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"  # an account may have no name, as in a container


def closed_to(account: Account, folder: Path) -> Path | None:
    """The first folder on the way down to this one that the account may not enter, or None."""
    for step in [*reversed(folder.parents), folder]:
        status = step.stat()
        if status.st_uid == account.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return step
    return None


def make_folder(folder: Path, mode: int) -> Path:
    """Make a folder and what leads to it; a folder that is already there keeps its mode."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StackError(f"The folder {folder} cannot be written to by this account.")
    return folder


@contextlib.contextmanager
def temporary_folder(prefix: str = "altprop-") -> Iterator[Path]:
    """A folder that is removed in the end and, unlike the usual temporary ones, open to a server's account."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
        yield folder


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def secret(path: Path) -> str:
    """The secret kept in this file, drawn and stored the first time."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def read_json(path: Path) -> dict[str, Any]:
    """What a state file holds; {} if there is none yet."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StackError(f"The file {path} is not JSON any more ({error}): repair or remove it.") from error
    if not isinstance(content, dict):
        raise StackError(f"The file {path} should hold a JSON object: repair or remove it.")
    return content


class FolderLock:
    """Holds a folder against a twin, from creation to `release`; the system lets go however we end."""

    def __init__(self, folder: Path, holder: str) -> None:
        """Raises StackError, naming the holder, if another process has it."""
        # Not inherited by children (PEP 446): only this process holds it.
        self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise StackError(f"{holder} is already running on the folder {folder}.") from None

    def release(self) -> None:
        os.close(self._descriptor)
