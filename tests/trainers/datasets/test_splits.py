"""Splits are disjoint, complete, decided by the seed, and refuse sizes that do not fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.declaration import LabelledOptions
from trainers.datasets.splits import every_nth_of_each_class, hold_out
from trainers.errors import SpecError


@given(count=st.integers(2, 300), seed=st.integers(0, 2**31 - 1), data=st.data())
def test_training_and_validation_share_nothing_and_leave_nothing(count: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, count - 1))
    train, validation = hold_out(count, LabelledOptions(validation_size=size), seed)
    assert len(validation) == size
    assert sorted(train.tolist() + validation.tolist()) == list(range(count))


def test_the_seed_decides() -> None:
    options = LabelledOptions(validation_size=50)
    assert torch.equal(hold_out(200, options, 3)[1], hold_out(200, options, 3)[1])
    assert not torch.equal(hold_out(200, options, 3)[1], hold_out(200, options, 4)[1])


def test_a_smaller_training_set_leaves_the_validation_set_alone() -> None:
    whole = hold_out(100, LabelledOptions(validation_size=20), 1)
    part = hold_out(100, LabelledOptions(validation_size=20, train_size=10), 1)
    assert torch.equal(whole[1], part[1])
    assert len(part[0]) == 10
    assert set(part[0].tolist()) < set(whole[0].tolist())


def test_a_tenth_validates_when_nothing_is_said() -> None:
    train, validation = hold_out(57, LabelledOptions(), 0)
    assert (len(train), len(validation)) == (52, 5)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [({"validation_size": 10}, "validation_size"), ({"validation_size": 4, "train_size": 7}, "train_size")],
)
def test_sizes_that_do_not_fit_are_refused_at_their_field(options: dict[str, int], pointer: str) -> None:
    with pytest.raises(SpecError) as refused:
        hold_out(10, LabelledOptions(**options), 0)
    assert refused.value.errors[0].pointer == f"#/dataset_options/{pointer}"
    assert refused.value.errors[0].got == options[pointer]


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=200), n=st.integers(2, 6))
def test_one_of_n_is_taken_from_each_class(labels: list[int], n: int) -> None:
    table = torch.tensor(labels)
    rest, chosen = every_nth_of_each_class(table, n, seed=0, name="x")
    assert sorted(rest.tolist() + chosen.tolist()) == list(range(len(labels)))
    for label in range(5):
        share = int((table[chosen] == label).sum()) - labels.count(label) / n
        assert abs(share) < 1
