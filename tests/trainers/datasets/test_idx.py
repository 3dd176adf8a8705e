"""IDX files are read as they are, and refused with the reason when they are anything else."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.idx import check_labels, parse_idx
from trainers.errors import DatasetUnavailable

AsIdx = Callable[[np.ndarray], bytes]


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_an_array_comes_back_as_it_was_written(as_idx: AsIdx, shape: list[int], seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(parse_idx(as_idx(array), "f", dimensions=len(shape)), array)


@given(cut=st.integers(1, 27))
def test_a_truncated_file_is_refused_wherever_it_ends(as_idx: AsIdx, cut: int) -> None:
    content = as_idx(np.ones((3, 2, 2), np.uint8))
    with pytest.raises(DatasetUnavailable, match="train-images"):
        parse_idx(content[:-cut], "train-images", dimensions=3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"\x1f\x8b\x08\x01" + bytes(12), "no IDX file"),
        (struct.pack(">HBBI", 0, 0x0D, 1, 2) + bytes(8), "type 0x0d"),
        (struct.pack(">HBBII", 0, 8, 2, 1, 1) + b"a", "2 dimensions; 1 are expected"),
        (struct.pack(">HBBI", 0, 8, 1, 2) + b"abc", "announces 2 = 2 bytes and holds 3"),
        (struct.pack(">HBBI", 0, 8, 1, 0xFFFFFFFF) + b"abc", "announces 4294967295"),
        (struct.pack(">HBBI", 0, 8, 1, 0), "no samples"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(DatasetUnavailable, match=reason) as refused:
        parse_idx(content, "labels.idx", dimensions=1)
    assert "labels.idx" in str(refused.value)


def test_labels_must_match_the_images_in_number_and_range() -> None:
    labels = np.array([0, 9], np.uint8)
    check_labels(labels, "f", count=2, classes=10)
    with pytest.raises(DatasetUnavailable, match="2 labels for 3 images"):
        check_labels(labels, "f", count=3, classes=10)
    with pytest.raises(DatasetUnavailable, match=r"label 9; labels are 0\.\.8"):
        check_labels(labels, "f", count=2, classes=9)
