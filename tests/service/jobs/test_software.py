"""The stamp of the code that runs: versions, commit, lock file."""

import hashlib
import importlib.metadata
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs import software as room
from service.jobs.software import PROJECT, software


@pytest.fixture(autouse=True)
def _taken_anew() -> Iterator[None]:
    """A process takes the stamp once; here each test does."""
    software.cache_clear()
    yield
    software.cache_clear()


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    found = subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True, text=True)
    return found.stdout.strip()


def test_it_names_versions_and_the_lock_file() -> None:
    stamp = software()
    assert stamp["torch"] == importlib.metadata.version("torch")
    assert stamp["altprop"] == tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    lock = (PROJECT / "requirements.lock").read_bytes()
    assert stamp["requirements_lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert software() is stamp


def test_the_commit_is_the_checkouts_and_changes_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PROJECT", tmp_path)
    monkeypatch.setenv("ALTPROP_COMMIT", "another")
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "v1", "--annotate", "--message", "a tag is not what is asked for")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert (software()["commit"], software()["modified"]) == (commit, False)
    software.cache_clear()
    (tmp_path / "file").write_text("two")
    assert (software()["commit"], software()["modified"]) == (commit, True)


def test_without_a_checkout_it_is_what_the_image_was_built_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")  # somebody else's, further up
    (tmp_path / "inner").mkdir()
    monkeypatch.setattr(room, "PROJECT", tmp_path / "inner")
    monkeypatch.setenv("ALTPROP_COMMIT", "0123abcd")
    assert (software()["commit"], software()["modified"]) == ("0123abcd", None)
    software.cache_clear()
    monkeypatch.setenv("ALTPROP_COMMIT", "")
    assert software()["commit"] is None


def test_a_git_that_is_not_there_leaves_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(room, "PROJECT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ALTPROP_COMMIT", raising=False)
    assert (software()["commit"], software()["modified"]) == (None, None)
