"""What code runs here: the versions that numbers depend on, its commit, and the lock file that it was installed from.

A worker takes this stamp when it starts and leaves it in the result of every job that it trains; a report adds that of
the process which made it.
"""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LOCK = PROJECT / "requirements.lock"

NAMED = ("torch", "numpy", "scipy", "statsmodels", "matplotlib", "scikit-learn", "pydantic", "safetensors", "django")
"""Packages that results or statistics come from; the lock file names all the others."""

GIT_SECONDS = 2.0
"""A worker has four seconds to start; what git does not tell soon is left open."""


@cache
def software() -> dict[str, Any]:
    """The stamp, taken at the first call: the files may change while the process lives.

    `commit` is None where neither a checkout nor ALTPROP_COMMIT tells it, `modified` (whether tracked files differ
    from that commit) where that is not known.
    """
    commit, modified = _commit()
    return {
        "altprop": _own_version(),
        "commit": commit,
        "modified": modified,
        "requirements_lock_sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else None,
        "python": platform.python_version(),
        **{name.replace("-", "_"): _version(name) for name in NAMED},
    }


def _commit() -> tuple[str | None, bool | None]:
    """Of the checkout that this file lies in, else as whoever built the image says."""
    if (PROJECT / ".git").exists():  # else git would look further up, and find somebody else's
        asked = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        try:
            found = subprocess.run(
                asked, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=GIT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            found = None
        if found is not None and found.returncode == 0:
            said = found.stdout.strip()
            return said.removesuffix("+"), said.endswith("+")
    return os.environ.get("ALTPROP_COMMIT") or None, None


def _own_version() -> str | None:
    """From the sources, which need no installing; else from the installed package."""
    try:
        return str(tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return _version("altprop")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
