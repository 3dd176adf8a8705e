"""digits is read from scikit-learn's wheel without scikit-learn, always with the same test set."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.datasets.digits import Digits, DigitsOptions
from trainers.datasets.digits_csv import digits_path, parse_csv, read_csv
from trainers.errors import DatasetUnavailable


def load(seed: int = 0, **options: object):
    return Digits.load(DigitsOptions.model_validate(options), seed=seed)


def test_the_images_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    images, labels = parse_csv(read_csv(digits_path()), "digits")
    np.testing.assert_array_equal(images[:, 0], load_digits().images)
    np.testing.assert_array_equal(labels, load_digits().target)


def test_the_wheel_holds_the_known_file() -> None:
    loaded = load()
    assert loaded.official
    assert loaded.sentence is None


def test_the_test_set_does_not_depend_on_the_seed_and_holds_every_class_in_proportion() -> None:
    one, other = load(seed=1), load(seed=2)
    assert torch.equal(one.test.inputs, other.test.inputs)
    assert len(one.test) == Digits.sizes["test"]
    shares = torch.bincount(one.test.targets, minlength=10) / torch.bincount(one.train.targets, minlength=10)
    assert shares.min() > 0.23
    assert shares.max() < 0.27


def test_splits_have_the_published_and_asked_for_sizes() -> None:
    assert load().sizes == {"train": 1257, "validation": 180, "test": 360}
    assert load(validation_size=300, train_size=100).sizes == {"train": 100, "validation": 300, "test": 360}


def test_pixels_are_scaled_by_their_brightest_value() -> None:
    batch = next(load().data(batch_size=1257).batches(0))
    assert batch.inputs.min() == 0
    assert batch.inputs.max() == 1
    assert batch.inputs.shape == (1257, 1, 8, 8)


def test_an_auto_encoder_is_to_put_out_what_it_sees_augmented_or_not() -> None:
    loaded = load(targets="inputs", crop_padding=1)
    assert (loaded.task.kind, loaded.task.outputs) == ("regression", 64)
    data = loaded.data(batch_size=10)
    for batch in (next(data.batches(0)), next(data.evaluation_batches("test"))):
        assert torch.equal(batch.targets, batch.inputs.flatten(1))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "rows of 65 numbers"),
        (b"1,2,3\n", "rows of 65 numbers"),
        (b"a" + b",0" * 64, "no table of numbers"),
        (b"17" + b",0" * 64, "pixels that are not whole numbers"),
        (b"nan" + b",0" * 64, "pixels that are not whole numbers"),
        (b"0.5" + b",0" * 64, "pixels that are not whole numbers"),
        (b"0," * 64 + b"10", "labels that are not whole numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_a_table_of_anything_else_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DatasetUnavailable, match=reason):
        parse_csv(content, "digits.csv")


def test_a_broken_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress(b"0,1\n" * 1000)[:-9])
    with pytest.raises(DatasetUnavailable, match=str(path)):
        read_csv(path)
