"""CIFAR-10's records are read channel by channel, and refused when they cannot be such records."""

import numpy as np
import pytest

from trainers.datasets.cifar_binary import RECORD_BYTES, check_balance, parse_records
from trainers.errors import DatasetUnavailable


def test_a_record_is_a_label_then_red_green_and_blue_row_by_row() -> None:
    pixels = np.arange(3072) % 251
    content = bytes([7]) + pixels.astype(np.uint8).tobytes() + bytes([2]) + bytes(3072)
    images, labels = parse_records(content, "batch")
    assert labels.tolist() == [7, 2]
    assert images.shape == (2, 3, 32, 32)
    assert images[0, 2, 5, 4] == (2 * 1024 + 5 * 32 + 4) % 251


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES - 1, RECORD_BYTES + 1, 2 * RECORD_BYTES - 7])
def test_an_empty_or_broken_file_is_refused(size: int) -> None:
    with pytest.raises(DatasetUnavailable, match=f"data_batch_1.bin holds {size:,} bytes"):
        parse_records(bytes(size), "data_batch_1.bin")


def test_a_label_past_nine_is_refused() -> None:
    with pytest.raises(DatasetUnavailable, match=r"label 10; labels are 0\.\.9"):
        parse_records(bytes([10]) + bytes(3072), "batch")


def test_classes_must_be_as_many_as_published() -> None:
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
    check_balance(labels, "f", per_class=3)
    labels[0] = 9
    with pytest.raises(DatasetUnavailable, match="2 images of class 0; 3 are expected"):
        check_balance(labels, "f", per_class=3)
