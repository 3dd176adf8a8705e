"""Batches of fixed sets: each sample once an epoch, the same from any step on, normalised as asked."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.algorithms.base import Batch
from trainers.datasets.declaration import Split
from trainers.datasets.indexed import LoadedSamples

Make = Callable[..., LoadedSamples]


def kept(batches: object) -> list[tuple[torch.Tensor, ...]]:
    """Copies, since buffers are reused."""
    return [(b.inputs.clone(), b.targets.clone(), b.indices.clone()) for b in batches]  # type: ignore[attr-defined]


def same(one: list[tuple[torch.Tensor, ...]], other: list[tuple[torch.Tensor, ...]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


@given(
    count=st.integers(5, 60),
    batch_size=st.integers(1, 70),
    epoch=st.integers(0, 50),
    seed=st.integers(0, 2**31 - 1),
    augmented=st.booleans(),
    data=st.data(),
)
def test_an_epoch_goes_on_from_any_step_as_if_never_stopped(
    make_samples: Make, count: int, batch_size: int, epoch: int, seed: int, augmented: bool, data: st.DataObject
) -> None:
    options = {"crop_padding": 1, "flip": True} if augmented else {}
    whole = make_samples(count, seed=seed, **options).data(batch_size=batch_size)
    first = data.draw(st.integers(0, whole.steps_per_pass))
    resumed = make_samples(count, seed=seed, **options).data(batch_size=batch_size)
    assert same(kept(resumed.batches(epoch, first)), kept(whole.batches(epoch))[first:])


@given(count=st.integers(5, 60), batch_size=st.integers(1, 70), epoch=st.integers(0, 9), shuffle=st.booleans())
def test_every_training_sample_comes_exactly_once_an_epoch(
    make_samples: Make, count: int, batch_size: int, epoch: int, shuffle: bool
) -> None:
    loaded = make_samples(count, shuffle=shuffle)
    data = loaded.data(batch_size=batch_size)
    rows = [int(row) for batch in data.batches(epoch) for row in batch.indices]
    assert sorted(rows) == loaded.train.rows.tolist()
    assert (rows == sorted(rows)) or shuffle


@given(count=st.integers(5, 60), batch_size=st.integers(1, 70))
def test_without_the_last_batch_all_are_full_and_no_sample_comes_twice(
    make_samples: Make, count: int, batch_size: int
) -> None:
    data = make_samples(count, drop_last=True).data(batch_size=batch_size)
    batches = kept(data.batches(0))
    assert len(batches) == data.steps_per_pass == max(1, (count - 3) // batch_size)
    assert {len(batch[0]) for batch in batches} == {min(batch_size, count - 3)}
    rows = [int(row) for batch in batches for row in batch[2]]
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_sees_each_sample_of_a_split_once_and_unaugmented(make_samples: Make, split: Split) -> None:
    loaded = make_samples(50, crop_padding=2, flip=True)
    data = loaded.data(batch_size=8, evaluation_batch_size=7)
    batches = kept(data.evaluation_batches(split))
    samples = getattr(loaded, split)
    assert torch.equal(torch.cat([batch[2] for batch in batches]), samples.rows)
    assert torch.equal(torch.cat([batch[0] for batch in batches]), samples.inputs[samples.rows].float() * (1 / 255))
    assert same(batches, kept(data.evaluation_batches(split)))


def test_inputs_and_targets_belong_together(make_samples: Make) -> None:
    loaded = make_samples(60)
    for batch in loaded.data(batch_size=9).batches(4):
        assert torch.equal(batch.targets, loaded.train.targets[batch.indices])
        assert torch.equal(batch.inputs, loaded.train.inputs[batch.indices].float() * (1 / 255))


def test_two_passes_of_an_epoch_are_the_same_and_epochs_and_seeds_differ(make_samples: Make) -> None:
    data = make_samples(60, seed=1, crop_padding=1).data(batch_size=10)
    assert same(kept(data.batches(2)), kept(data.batches(2)))
    assert not same(kept(data.batches(2)), kept(data.batches(3)))
    assert not same(
        kept(data.batches(2)), kept(make_samples(60, seed=2, crop_padding=1).data(batch_size=10).batches(2))
    )


def test_an_evaluation_within_an_epoch_leaves_the_training_batch_alone(make_samples: Make) -> None:
    data = make_samples(60).data(batch_size=5, evaluation_batch_size=5)
    batch = next(data.batches(0))
    before = batch.inputs.clone()
    list(data.evaluation_batches("validation"))
    assert torch.equal(batch.inputs, before)


def test_buffers_are_reused(make_samples: Make) -> None:
    batches = make_samples(60).data(batch_size=5).batches(0)
    assert len({next(batches).inputs.data_ptr() for _ in range(4)}) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_standard_means_no_mean_and_deviation_one_per_channel(make_samples: Make, channels: int) -> None:
    loaded = make_samples(200, channels=channels, normalize="standard")
    inputs = next(loaded.data(batch_size=500).batches(0)).inputs
    assert inputs.shape == (197, channels, 4, 4)
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(channels), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(channels), atol=1e-5, rtol=0)


def test_inputs_have_the_type_that_was_asked_for(make_samples: Make) -> None:
    batch = next(make_samples(20, dtype=torch.float64).data(batch_size=4).batches(0))
    assert batch.inputs.dtype == torch.float64
    assert batch.targets.dtype == torch.int64


def test_there_is_no_state_beyond_seed_epoch_and_step(make_samples: Make) -> None:
    data = make_samples(20).data(batch_size=4)
    next(data.batches(0))
    assert data.state_dict() == {}
    assert data.measurements() == {}


def test_nothing_draws_from_the_global_generator(make_samples: Make) -> None:
    before = torch.random.get_rng_state()
    list(make_samples(20, crop_padding=1, flip=True).data(batch_size=4).batches(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_batch_starts_afresh(make_samples: Make) -> None:
    batch: Batch = next(make_samples(20).data(batch_size=4).batches(0))
    assert batch.starts
