"""CIFAR-10: copies are accepted when their counts are right and called what they are; archives are opened safely."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.datasets.cifar10 import Cifar10, Cifar10Options, open_archive
from trainers.datasets.declaration import KnownFile, Remote
from trainers.errors import DatasetUnavailable

NAMES = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]


def batch_bytes(seed: int) -> bytes:
    """100 records, ten of each class, labels in a shuffled order."""
    chance = np.random.default_rng(seed)
    records = chance.integers(0, 256, (100, 3073), dtype=np.uint8)
    records[:, 0] = chance.permutation(np.repeat(np.arange(10), 10))
    return records.tobytes()


class Small(Cifar10):
    """A hundredth of the published size."""

    files = tuple(
        KnownFile(name, 307_300, "sha1", hashlib.sha1(batch_bytes(k)).hexdigest()) for k, name in enumerate(NAMES)
    )


@pytest.fixture
def contents() -> dict[str, bytes]:
    return {name: batch_bytes(k) for k, name in enumerate(NAMES)}


def place(directory: Path, contents: dict[str, bytes]) -> Path:
    folder = directory / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def archive_bytes(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def load(directory: Path, make_loading: Any, **options: Any) -> Any:
    return Small.read(Cifar10Options(**{"validation_size": 50} | options), make_loading(directory))


def test_five_batches_train_and_one_tests(contents: dict[str, bytes], tmp_path: Path, make_loading: Any) -> None:
    place(tmp_path, contents)
    loaded = load(tmp_path, make_loading)
    assert loaded.sizes == {"train": 450, "validation": 50, "test": 100}
    assert loaded.official
    assert loaded.test.targets.tolist() == list(contents["test_batch.bin"][::3073])
    assert loaded.train.inputs[101, 2, 31, 31] == contents["data_batch_2.bin"][2 * 3073 - 1]


def test_a_copy_with_other_bytes_is_trained_on_and_said_to_be_one(
    contents: dict[str, bytes], tmp_path: Path, make_loading: Any
) -> None:
    copy = contents | {"data_batch_3.bin": batch_bytes(99)}
    folder = place(tmp_path, copy)
    loaded = load(tmp_path, make_loading)
    assert not loaded.official
    assert folder.name in str(loaded.sentence)
    assert str(folder.parent) not in str(loaded.sentence)  # it is stored with results, which leave the machine
    assert "not exactly those of the official set" in str(loaded.sentence)


def test_a_copy_that_changes_later_is_refused(contents: dict[str, bytes], tmp_path: Path, make_loading: Any) -> None:
    folder = place(tmp_path, contents | {"data_batch_3.bin": batch_bytes(99)})
    load(tmp_path, make_loading)
    (folder / "data_batch_3.bin").write_bytes(batch_bytes(100))
    with pytest.raises(DatasetUnavailable, match=r"data_batch_3\.bin has changed"):
        load(tmp_path, make_loading)


def test_wrong_counts_are_refused(contents: dict[str, bytes], tmp_path: Path, make_loading: Any) -> None:
    wrong = bytearray(contents["test_batch.bin"])
    wrong[0] = (wrong[0] + 1) % 10
    place(tmp_path, contents | {"test_batch.bin": bytes(wrong)})
    with pytest.raises(DatasetUnavailable, match=r"test_batch\.bin holds (9|11) images of class"):
        load(tmp_path, make_loading)


def test_a_truncated_batch_is_refused(contents: dict[str, bytes], tmp_path: Path, make_loading: Any) -> None:
    place(tmp_path, contents | {"data_batch_1.bin": contents["data_batch_1.bin"][:-1]})
    with pytest.raises(DatasetUnavailable, match=r"data_batch_1\.bin holds 307,299 bytes"):
        load(tmp_path, make_loading)


def test_the_archive_is_downloaded_opened_and_removed(
    contents: dict[str, bytes], tmp_path: Path, make_loading: Any, server: Any, answer: Any
) -> None:
    packed = archive_bytes({f"cifar-10-batches-bin/{name}": content for name, content in contents.items()})
    url = server.answer("/cifar-10-binary.tar.gz", answer(packed))

    class Published(Small):
        archive = Remote((url,), len(packed), "sha256", hashlib.sha256(packed).hexdigest())

    loading = make_loading(tmp_path, download=True)
    loaded = Published.read(Cifar10Options(validation_size=50), loading)
    assert loaded.official
    assert sorted(path.name for path in (tmp_path / "cifar-10-batches-bin").iterdir()) == sorted(NAMES)
    Published.read(Cifar10Options(validation_size=50), loading)
    assert len(server.requests) == 1


def test_an_archive_writes_nothing_but_the_six_files(contents: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    members = {f"cifar-10-batches-bin/{name}": content for name, content in contents.items()}
    archive = folder / "archive.tar.gz"
    archive.write_bytes(archive_bytes({"../escaped": b"x", "/escaped": b"x", "readme.html": b"x"} | members))
    open_archive(archive, Small.files)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_archive_that_lacks_a_file_is_refused(contents: dict[str, bytes], tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(archive_bytes({f"cifar-10-batches-bin/{name}": contents[name] for name in NAMES[:-1]}))
    with pytest.raises(DatasetUnavailable, match=r"lacks cifar-10-batches-bin/test_batch\.bin"):
        open_archive(archive, Small.files)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(b"not an archive")
    with pytest.raises(DatasetUnavailable, match="cannot be opened"):
        open_archive(archive, Small.files)
