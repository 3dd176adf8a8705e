"""What data sets say of themselves: complete, JSON-ready, and readable without torch."""

import json
import subprocess
import sys
from typing import Any

import pytest

from trainers.datasets.arrays import Arrays
from trainers.datasets.cifar10 import Cifar10
from trainers.datasets.copy_tasks import Copy, RepeatCopy
from trainers.datasets.digit_counting import DigitCounting
from trainers.datasets.digits import Digits
from trainers.datasets.mnist import FashionMnist, Mnist
from trainers.datasets.mnist_variants import PermutedMnist, SequentialMnist
from trainers.datasets.tiny_shakespeare import TinyShakespeare
from trainers.errors import SpecError
from trainers.spec import parse_model

ALL: list[Any] = [
    Digits,
    Mnist,
    FashionMnist,
    Cifar10,
    TinyShakespeare,
    SequentialMnist,
    PermutedMnist,
    Copy,
    RepeatCopy,
    DigitCounting,
    Arrays,
]


def test_facts_are_read_without_torch() -> None:
    modules = sorted({dataset.__module__ for dataset in ALL})
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "from trainers.datasets.mnist import Mnist, MnistOptions\n"
        "Mnist.task(MnistOptions()), Mnist.describe()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_every_fact_is_there_and_fits_into_json(dataset: Any) -> None:
    facts = json.loads(json.dumps(dataset.describe()))
    assert facts["name"] == dataset.name
    assert all(facts[key] for key in ("title", "summary", "kind", "source", "licence", "usual_network"))
    assert facts["endless"] == (dataset in (Copy, RepeatCopy, DigitCounting))
    for name, option in facts["options"]["properties"].items():
        assert "description" in option or name == "task", name


@pytest.mark.parametrize("dataset", [d for d in ALL if d is not Arrays], ids=lambda dataset: dataset.name)
def test_no_options_are_a_whole_set_of_options(dataset: Any) -> None:
    task = dataset.task(dataset.Options())
    assert task.kind == dataset.kind
    assert task.outputs > 1


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_published_files_have_full_sums(dataset: Any) -> None:
    lengths = {"sha1": 40, "sha256": 64, "md5": 32}
    for file in dataset.files:
        assert len(file.digest) == lengths[file.sum_name]
        if file.remote is not None:
            assert len(file.remote.digest) == lengths[file.remote.sum_name]
            assert file.remote.name in (file.name, f"{file.name}.gz")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"validation_size": 60_000}, "#/dataset_options/validation_size"),
        ({"validation_size": True}, "#/dataset_options/validation_size"),
        ({"validation_size": "5000"}, "#/dataset_options/validation_size"),
        ({"normalise": "unit"}, "#/dataset_options/normalise"),
        ({"normalize": "none"}, "#/dataset_options/normalize"),
        ({"crop_padding": -1}, "#/dataset_options/crop_padding"),
    ],
)
def test_wrong_options_are_refused_at_their_field(options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(Mnist.Options, options, at="#/dataset_options")
    assert refused.value.errors[0].pointer == pointer
