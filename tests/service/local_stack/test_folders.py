"""Folders and small private files: who may reach them, who holds them, and that secrets stay secret."""

import os
import stat
from pathlib import Path

import pytest

from service.local_stack import folders
from service.local_stack.errors import StackError
from service.local_stack.folders import Account, FolderLock

STRANGER = Account("stranger", uid=54321, gid=54321)


def test_the_first_closed_folder_on_the_way_is_named(folder: Path) -> None:
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    (folder / "closed").chmod(0o700)
    folder.chmod(0o755)
    assert folders.closed_to(STRANGER, inner) == folder / "closed"


def test_a_folder_is_open_to_its_owner_its_group_and_others_by_their_own_bits(folder: Path) -> None:
    folder.chmod(0o710)
    status = folder.stat()
    assert folders.closed_to(STRANGER, folder) == folder
    assert folders.closed_to(Account("member", 54321, status.st_gid), folder) is None
    assert folders.closed_to(Account("owner", status.st_uid, 54321), folder) is None


def test_a_temporary_folder_is_open_to_a_servers_account_and_removed() -> None:
    with folders.temporary_folder() as path:
        account = folders.server_account(path / "data")
        assert account is None or folders.closed_to(account, path) is None
    assert not path.exists()


def test_a_held_folder_is_refused_until_it_is_released(tmp_path: Path) -> None:
    first = FolderLock(tmp_path, "Altprop")
    with pytest.raises(StackError, match=f"Altprop is already running on the folder {tmp_path}"):
        FolderLock(tmp_path, "Altprop")
    first.release()
    FolderLock(tmp_path, "Altprop").release()


def test_a_secret_is_drawn_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    first = folders.secret(path)
    assert len(first) >= 32
    assert folders.secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_private_file_replaces_one_that_was_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("old")
    path.chmod(0o644)
    folders.write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["credentials.json"]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_state_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StackError, match=str(path)):
        folders.read_json(path)


def test_a_folder_where_a_file_stands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StackError, match="cannot be made: Not a directory"):
        folders.make_folder(tmp_path / "taken" / "data", 0o700)
