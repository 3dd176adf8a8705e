"""MNIST and its variants from files in the published layout; downloads fill in what is missing."""

import gzip
import hashlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainers.datasets.declaration import Remote
from trainers.datasets.mnist import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    FashionMnist,
    Mnist,
    MnistOptions,
)
from trainers.datasets.mnist_variants import (
    PermutedMnist,
    PermutedMnistOptions,
    SequentialMnist,
    SequentialMnistOptions,
)
from trainers.errors import DatasetUnavailable


def small(base: Any, idx_folder: Any, **facts: Any) -> Any:
    return type("Small", (base,), {"files": idx_folder.files} | facts)


def in_order(loaded: Any) -> Any:
    return next(loaded.data(batch_size=1000).batches(0))


def test_the_files_become_splits(idx_folder: Any, make_loading: Any) -> None:
    loaded = small(Mnist, idx_folder).read(
        MnistOptions(validation_size=7, shuffle=False), make_loading(idx_folder.directory)
    )
    assert loaded.sizes == {"train": 23, "validation": 7, "test": 10}
    assert loaded.official
    batch = in_order(loaded)
    assert torch.equal(batch.inputs[:, 0], torch.from_numpy(idx_folder.images[TRAIN_IMAGES])[batch.indices] * (1 / 255))
    assert torch.equal(batch.targets, torch.from_numpy(idx_folder.images[TRAIN_LABELS]).long()[batch.indices])
    test = next(loaded.data(batch_size=1).evaluation_batches("test"))
    assert test.targets.tolist() == idx_folder.images[TEST_LABELS].tolist()


def test_what_was_trained_on_is_recorded(idx_folder: Any, make_loading: Any) -> None:
    described = (
        small(Mnist, idx_folder).read(MnistOptions(validation_size=7), make_loading(idx_folder.directory)).describe()
    )
    assert described["files"] == {file.name: file.digest for file in idx_folder.files}
    assert len(described["sha256"]) == 64
    assert described["sizes"]["train"] == 23


def test_the_published_mean_and_deviation_are_used(idx_folder: Any, make_loading: Any) -> None:
    options = MnistOptions(validation_size=7, shuffle=False, normalize="standard")
    batch = in_order(small(Mnist, idx_folder).read(options, make_loading(idx_folder.directory)))
    pixels = torch.from_numpy(idx_folder.images[TRAIN_IMAGES])[batch.indices] / 255
    torch.testing.assert_close(batch.inputs[:, 0], (pixels - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)


def test_one_altered_byte_is_refused_by_name(idx_folder: Any, make_loading: Any) -> None:
    path = idx_folder.folder / f"{TRAIN_IMAGES}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DatasetUnavailable) as refused:
        small(Mnist, idx_folder).read(MnistOptions(), make_loading(idx_folder.directory))
    assert str(path) in str(refused.value)
    assert hashlib.sha256(content).hexdigest() in str(refused.value)


def test_labels_of_another_file_are_refused(idx_folder: Any, make_loading: Any) -> None:
    swapped = replace(idx_folder.files[3], name=TRAIN_LABELS), replace(idx_folder.files[1], name=TEST_LABELS)
    names = f"{TRAIN_LABELS}.gz", f"{TEST_LABELS}.gz", "aside"
    for source, target in ((0, 2), (1, 0), (2, 1)):
        (idx_folder.folder / names[source]).rename(idx_folder.folder / names[target])
    dataset = small(Mnist, idx_folder, files=(idx_folder.files[0], swapped[0], idx_folder.files[2], swapped[1]))
    with pytest.raises(DatasetUnavailable, match="10 labels for 30 images"):
        dataset.read(MnistOptions(), make_loading(idx_folder.directory))


def test_only_what_is_missing_is_downloaded(idx_folder: Any, make_loading: Any, server: Any, answer: Any) -> None:
    path = idx_folder.folder / f"{TEST_IMAGES}.gz"
    packed = path.read_bytes()
    path.unlink()
    url = server.answer(f"/{path.name}", answer(packed))
    remote = Remote((url,), len(packed), "md5", hashlib.md5(packed).hexdigest())
    files = tuple(replace(file, remote=remote) for file in idx_folder.files)
    loaded = small(Mnist, idx_folder, files=files).read(
        MnistOptions(validation_size=7), make_loading(idx_folder.directory, download=True)
    )
    assert len(loaded.test) == 10
    assert server.requests == [(f"/{path.name}", None)]


def test_without_download_the_missing_file_and_the_folder_are_named(idx_folder: Any, make_loading: Any) -> None:
    (idx_folder.folder / f"{TEST_IMAGES}.gz").unlink()
    with pytest.raises(DatasetUnavailable, match=TEST_IMAGES) as refused:
        small(Mnist, idx_folder).read(MnistOptions(), make_loading(idx_folder.directory))
    assert str(idx_folder.folder) in str(refused.value)


def test_sequential_mnist_reads_rows_or_pixels(idx_folder: Any, make_loading: Any) -> None:
    dataset, loading = small(SequentialMnist, idx_folder), make_loading(idx_folder.directory)
    rows = in_order(dataset.read(SequentialMnistOptions(validation_size=7, shuffle=False), loading))
    pixels = in_order(dataset.read(SequentialMnistOptions(validation_size=7, shuffle=False, order="pixels"), loading))
    assert rows.inputs.shape == (23, 28, 28)
    assert pixels.inputs.shape == (23, 784, 1)
    assert torch.equal(rows.inputs.flatten(), pixels.inputs.flatten())
    assert dataset.task(SequentialMnistOptions(order="pixels")).time_steps == 784
    assert dataset.task(SequentialMnistOptions(order="pixels")).input_shape == (1,)


def test_permuted_mnist_shuffles_all_images_alike_and_not_by_the_runs_seed(idx_folder: Any, make_loading: Any) -> None:
    plain = in_order(
        small(Mnist, idx_folder).read(
            MnistOptions(validation_size=7, shuffle=False), make_loading(idx_folder.directory)
        )
    ).inputs.flatten(1)
    dataset = small(PermutedMnist, idx_folder)

    def permuted(seed: int, **options: Any) -> Any:
        loading = make_loading(idx_folder.directory, seed=seed)
        return dataset.read(PermutedMnistOptions(validation_size=7, shuffle=False, **options), loading)

    batch = in_order(permuted(0)).inputs.flatten(1)
    assert not torch.equal(batch, plain)
    # Columns moved as a whole: each has its match among the plain ones.
    columns = {tuple(column.tolist()) for column in plain.T}
    assert all(tuple(column.tolist()) in columns for column in batch.T)
    assert torch.equal(batch.sort(1).values, plain.sort(1).values)
    assert torch.equal(permuted(0).test.inputs, permuted(1).test.inputs)
    assert not torch.equal(permuted(0).test.inputs, permuted(0, permutation_seed=1).test.inputs)


def test_sequential_mnist_can_be_permuted_too(idx_folder: Any, make_loading: Any) -> None:
    dataset, loading = small(SequentialMnist, idx_folder), make_loading(idx_folder.directory)
    plain = in_order(dataset.read(SequentialMnistOptions(validation_size=7), loading)).inputs
    permuted = in_order(dataset.read(SequentialMnistOptions(validation_size=7, permutation_seed=0), loading)).inputs
    assert torch.equal(plain.flatten(1).sort(1).values, permuted.flatten(1).sort(1).values)
    assert not torch.equal(plain, permuted)


def test_fashion_mnist_lies_in_its_own_folder_with_its_own_sums() -> None:
    assert FashionMnist.folder == "fashion-mnist"
    assert {file.digest for file in FashionMnist.files}.isdisjoint(file.digest for file in Mnist.files)
