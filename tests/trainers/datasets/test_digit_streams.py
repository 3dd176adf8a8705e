"""Counting digits: targets against a count by hand over the labels that were shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.declaration import Task
from trainers.datasets.digit_counting import DigitCounting, DigitCountingOptions
from trainers.datasets.digit_streams import LoadedDigitStreams


def streams(
    make_samples: Callable[..., Any],
    *,
    ticks: int = 3,
    messages: int = 1,
    seed: int = 0,
    batch_size: int = 4,
    steps: int = 12,
) -> Any:
    images = make_samples(60, seed=seed)
    images.train.targets.copy_(torch.randint(0, 10, (60,), generator=torch.Generator().manual_seed(1)))
    task = DigitCounting.task(DigitCountingOptions(ticks=ticks, messages=messages))
    assert isinstance(task, Task)
    loaded = LoadedDigitStreams(
        name="made",
        task=task,
        fingerprint=images.fingerprint,
        seed=seed,
        images=images,
        ticks=ticks,
        messages=messages,
        evaluation_streams=6,
    )
    return loaded, loaded.data(batch_size=batch_size, steps_per_epoch=steps, evaluation_batch_size=20)


@given(ticks=st.integers(1, 4), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_targets_count_odd_digits_of_a_chunk_and_threes_of_the_last_t_chunks(
    make_samples: Callable[..., Any], ticks: int, seed: int, epoch: int
) -> None:
    loaded, data = streams(make_samples, ticks=ticks, seed=seed)
    shown: list[torch.Tensor] = []
    for step, batch in enumerate(data.batches(epoch)):
        labels = loaded.images.train.targets[batch.indices]
        shown.append(labels)
        recent = torch.cat(shown, 1)[:, -(ticks**2) :]
        assert batch.targets.shape == (4, 1, 2)
        assert batch.targets[:, 0, 0].tolist() == [sum(d % 2 for d in row) for row in labels.tolist()]
        assert batch.targets[:, 0, 1].tolist() == [row.count(3) for row in recent.tolist()]
        assert batch.starts == (step == 0)
        pixels = loaded.images.train.inputs[batch.indices].flatten(2).float() * (1 / 255)
        assert torch.equal(batch.inputs, pixels)


@given(first=st.integers(0, 12), ticks=st.integers(1, 4), messages=st.integers(1, 3))
def test_a_pass_goes_on_from_any_step_as_if_never_stopped(
    make_samples: Callable[..., Any], first: int, ticks: int, messages: int
) -> None:
    _, data = streams(make_samples, ticks=ticks, messages=messages)
    whole = [(b.inputs.clone(), b.targets, b.starts) for b in data.batches(1)]
    for one, other in zip(data.batches(1, first), whole[first:], strict=True):
        assert torch.equal(one.inputs, other[0])
        assert torch.equal(one.targets, other[1])
        assert one.starts == other[2]


@given(ticks=st.integers(1, 4), messages=st.integers(2, 4))
def test_a_step_of_several_messages_is_several_steps_of_one(
    make_samples: Callable[..., Any], ticks: int, messages: int
) -> None:
    one = streams(make_samples, ticks=ticks, steps=3 * messages)[1]
    several = streams(make_samples, ticks=ticks, messages=messages, steps=3)[1]
    singles = [(b.inputs.clone(), b.targets) for b in one.batches(0)]
    for step, batch in enumerate(several.batches(0)):
        own = singles[step * messages : (step + 1) * messages]
        assert torch.equal(batch.inputs, torch.cat([inputs for inputs, _ in own], dim=1))
        assert torch.equal(batch.targets, torch.cat([targets for _, targets in own], dim=1))


def test_evaluation_is_whole_stretches_with_the_counts_at_their_end(make_samples: Callable[..., Any]) -> None:
    loaded, data = streams(make_samples, ticks=3)
    batches = [(b.inputs.clone(), b.targets, b.indices) for b in data.evaluation_batches("validation")]
    assert sum(len(inputs) for inputs, _, _ in batches) == 6
    for inputs, targets, rows in batches:
        assert inputs.shape[1:] == (9, 16)
        assert set(rows.flatten().tolist()) <= set(loaded.images.validation.rows.tolist())
        digits = loaded.images.validation.targets[rows].tolist()
        assert targets.tolist() == [[sum(d % 2 for d in row[-3:]), row.count(3)] for row in digits]


def test_heads_have_a_class_for_every_count() -> None:
    task = DigitCounting.task(DigitCountingOptions(ticks=5, messages=3))
    assert task.heads == {"odd": 6, "threes": 26}
    assert task.outputs == 32
    assert task.time_steps == 15


def test_it_loads_from_mnist_files(idx_folder: Any, make_loading: Any) -> None:
    class Small(DigitCounting):
        files = idx_folder.files

    options = DigitCountingOptions(validation_size=5, ticks=2)
    batch = next(
        Small.read(options, make_loading(idx_folder.directory)).data(batch_size=3, steps_per_epoch=4).batches(0)
    )
    assert batch.inputs.shape == (3, 2, 784)
    assert batch.targets.shape == (3, 1, 2)


def test_it_streams_the_digits_that_need_no_download(make_loading: Any, tmp_path: Path) -> None:
    options = DigitCountingOptions(images="digits", ticks=2, messages=2)
    loaded = DigitCounting.read(options, make_loading(tmp_path))
    batch = next(loaded.data(batch_size=3, steps_per_epoch=4).batches(0))
    assert options.validation_size == len(loaded.images.validation) == 180
    assert batch.inputs.shape == (3, 4, 64)
    assert batch.inputs.max() <= 1
    digits = loaded.images.train.targets[batch.indices].view(3, 2, 2)
    assert torch.equal(batch.targets[..., 0], (digits % 2).sum(2))
