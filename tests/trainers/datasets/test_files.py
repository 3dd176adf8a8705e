"""Files are compared by content, whatever their compression; what is wrong is named with both sums."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.declaration import KnownFile
from trainers.datasets.files import (
    RECORD,
    FileRecord,
    Fingerprint,
    data_directory,
    read_copy,
    read_official,
    read_whole,
    remember_copies,
    require,
)
from trainers.errors import DatasetUnavailable

CONTENT = bytes(range(256)) * 8
FILE = KnownFile("data.bin", len(CONTENT), "sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("level", [1, 9])
def test_any_compression_of_the_published_bytes_is_official(tmp_path: Path, level: int) -> None:
    (tmp_path / "data.bin.gz").write_bytes(gzip.compress(CONTENT, level))
    assert read_official(tmp_path, FILE) == (CONTENT, FileRecord("data.bin", FILE.digest, official=True))


def test_the_uncompressed_file_serves_as_well(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(CONTENT)
    assert read_official(tmp_path, FILE)[0] == CONTENT


def test_an_altered_file_is_refused_with_its_name_and_both_sums(tmp_path: Path) -> None:
    altered = CONTENT[:-1] + b"\0"
    (tmp_path / "data.bin.gz").write_bytes(gzip.compress(altered))
    with pytest.raises(DatasetUnavailable) as refused:
        read_official(tmp_path, FILE)
    for part in (str(tmp_path / "data.bin.gz"), hashlib.sha256(altered).hexdigest(), FILE.digest):
        assert part in str(refused.value)


@given(cut=st.integers(1, 60))
def test_a_truncated_gzip_file_is_refused_wherever_it_ends(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "data.bin.gz"
    path.write_bytes(gzip.compress(CONTENT)[:-cut])
    with pytest.raises(DatasetUnavailable, match=r"data\.bin\.gz"):
        read_whole(path, expected_size=len(CONTENT))


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x"])
def test_a_file_of_another_size_is_refused_with_both_sizes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.bin").write_bytes(content)
    with pytest.raises(DatasetUnavailable, match="2,048"):
        read_whole(tmp_path / "data.bin", expected_size=2048)


def test_bytes_that_are_no_gzip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.bin.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(DatasetUnavailable, match="no gzip file"):
        read_whole(tmp_path / "data.bin.gz", expected_size=2048)


def test_missing_files_are_named_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"lacks data\.bin") as refused:
        require("Some set", tmp_path, [FILE])
    assert str(tmp_path) in str(refused.value)


def test_a_copy_is_taken_and_known_as_one(tmp_path: Path) -> None:
    copy = CONTENT[::-1]
    (tmp_path / "data.bin").write_bytes(copy)
    content, record = read_copy(tmp_path, FILE)
    assert content == copy
    assert not record.official


def test_a_copy_that_changes_after_it_was_first_seen_is_refused_with_both_sums(tmp_path: Path) -> None:
    first, second = FileRecord("data.bin", "a" * 64, official=False), FileRecord("data.bin", "b" * 64, official=False)
    remember_copies(tmp_path, [first])
    remember_copies(tmp_path, [first])
    with pytest.raises(DatasetUnavailable) as refused:
        remember_copies(tmp_path, [second])
    assert "a" * 64 in str(refused.value)
    assert "b" * 64 in str(refused.value)


def test_official_files_leave_no_record_behind(tmp_path: Path) -> None:
    remember_copies(tmp_path, [FileRecord("data.bin", "a" * 64, official=True)])
    assert not (tmp_path / RECORD).exists()


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"other": "x"})])
def test_a_useless_record_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content)
    remember_copies(tmp_path, [FileRecord("data.bin", "a" * 64, official=False)])
    assert json.loads((tmp_path / RECORD).read_text()) == {"data.bin": "a" * 64}


def test_the_fingerprint_is_what_sha256sum_says_of_its_own_output() -> None:
    records = [FileRecord("x", "a" * 64, official=True), FileRecord("y", "b" * 64, official=False)]
    print_out = f"{'a' * 64}  x\n{'b' * 64}  y\n"
    fingerprint = Fingerprint.of(records, unofficial="Not the published bytes.")
    assert fingerprint.sha256 == hashlib.sha256(print_out.encode()).hexdigest()
    assert not fingerprint.official
    assert fingerprint.sentence == "Not the published bytes."
    assert Fingerprint.of(records[:1], unofficial="Not the published bytes.").sentence is None


def test_the_data_directory_is_named_by_argument_then_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALTPROP_DATA_DIR", str(tmp_path))
    assert data_directory() == tmp_path
    assert data_directory(tmp_path / "other") == tmp_path / "other"
    monkeypatch.delenv("ALTPROP_DATA_DIR")
    assert data_directory() == Path.home() / ".cache" / "altprop"
