"""The real files in ALTPROP_DATA_DIR: official where they are, called a copy where not, loaded fast."""

from typing import Any

import pytest
import torch

from trainers.datasets.cifar10 import Cifar10
from trainers.datasets.digit_counting import DigitCounting
from trainers.datasets.mnist import FashionMnist, Mnist
from trainers.datasets.mnist_variants import PermutedMnist, SequentialMnist
from trainers.datasets.tiny_shakespeare import TinyShakespeare

FIRST_LINES = """First Citizen:
Before we proceed any further, hear me speak.

All:
Speak, speak.

First Citizen:
You are all resolved rather to die than to famish?
"""
pytestmark = pytest.mark.full_data


def load(dataset: Any, **options: Any) -> Any:
    return dataset.load(dataset.Options(**options), seed=0, download=False)


@pytest.mark.parametrize("dataset", [Mnist, FashionMnist], ids=lambda dataset: dataset.name)
def test_the_idx_sets_are_the_official_ones(dataset: Any) -> None:
    loaded = load(dataset)
    assert loaded.official
    assert loaded.sizes == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert torch.bincount(loaded.test.targets).tolist() == (
        [1000] * 10 if dataset is FashionMnist else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


@pytest.mark.parametrize("dataset", [Mnist, FashionMnist, Cifar10], ids=lambda dataset: dataset.name)
def test_the_published_mean_and_deviation_fit(dataset: Any) -> None:
    data = load(dataset, normalize="standard").data(batch_size=5000)
    inputs = torch.cat([batch.inputs.clone() for batch in data.evaluation_batches("train")])
    assert inputs.mean((0, 2, 3)).abs().max() < 0.02
    assert (inputs.std((0, 2, 3)) - 1).abs().max() < 0.02


def test_cifar10_holds_all_classes_equally_and_says_whether_it_is_official() -> None:
    loaded = load(Cifar10)
    assert loaded.sizes == {"train": 45_000, "validation": 5_000, "test": 10_000}
    assert torch.bincount(loaded.train.targets).tolist() == [5000] * 10
    assert loaded.official == (loaded.sentence is None)


def test_the_plays_have_65_characters_and_three_stretches() -> None:
    loaded = load(TinyShakespeare)
    assert loaded.official
    assert dict(loaded.sizes) == dict(TinyShakespeare.sizes)
    assert len(loaded.alphabet) == loaded.task.symbols == 65
    batch = next(loaded.data(batch_size=32).batches(0))
    text = "".join(loaded.alphabet[i] for i in batch.inputs[0])
    assert text in FIRST_LINES


def test_variants_of_mnist_are_made_of_the_same_files() -> None:
    sums = {load(dataset).sha256 for dataset in (Mnist, SequentialMnist, PermutedMnist, DigitCounting)}
    assert len(sums) == 1
