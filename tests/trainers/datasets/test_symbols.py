"""A text in parallel streams: every row reads on where it stopped, and each target is the next symbol."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.datasets.declaration import Task
from trainers.datasets.files import FileRecord, Fingerprint
from trainers.datasets.symbols import LoadedSymbols, encode
from trainers.errors import DatasetUnavailable, SpecError


def made(train: int = 200, *, seed: int = 0, chunk_length: int = 5, shuffle: bool = True, evaluation: int = 7) -> Any:
    text = torch.randint(0, 9, (train + 60,), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    return LoadedSymbols(
        name="made",
        task=Task("next_symbol", (), 9, symbols=9),
        fingerprint=Fingerprint.of([FileRecord("made", "0" * 64, official=True)]),
        seed=seed,
        alphabet="abcdefghi",
        train=text[:train],
        validation=text[train : train + 37],
        test=text[train + 37 :],
        chunk_length=chunk_length,
        shuffle=shuffle,
        evaluation_length=evaluation,
    )


def kept(batches: Any) -> list[tuple[Any, ...]]:
    return [(b.inputs.clone(), b.targets.clone(), b.starts) for b in batches]


@given(
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    batch_size=st.integers(1, 8),
    chunk=st.integers(1, 12),
    data=st.data(),
)
def test_an_epoch_goes_on_from_any_step_as_if_never_stopped(
    seed: int, epoch: int, batch_size: int, chunk: int, data: st.DataObject
) -> None:
    whole = made(seed=seed, chunk_length=chunk).data(batch_size=batch_size)
    first = data.draw(st.integers(0, whole.steps_per_pass))
    resumed = kept(made(seed=seed, chunk_length=chunk).data(batch_size=batch_size).batches(epoch, first))
    for one, other in zip(resumed, kept(whole.batches(epoch))[first:], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] == other[2]


@given(batch_size=st.integers(1, 8), chunk=st.integers(1, 12), shuffle=st.booleans(), epoch=st.integers(0, 20))
def test_rows_read_on_and_targets_are_what_comes_next(batch_size: int, chunk: int, shuffle: bool, epoch: int) -> None:
    loaded = made(chunk_length=chunk, shuffle=shuffle)
    batches = kept(loaded.data(batch_size=batch_size).batches(epoch))
    inputs, targets = torch.cat([b[0] for b in batches], 1), torch.cat([b[1] for b in batches], 1)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(inputs[1:, 0], targets[:-1, -1])
    text = loaded.train.tolist()
    read = inputs.flatten().tolist()
    begin = next(k for k in range(chunk) if text[k : k + len(read)] == read)
    assert begin == 0 or shuffle
    assert [b[2] for b in batches] == [True] + [False] * (len(batches) - 1)
    assert len(text) - len(read) < chunk * batch_size + chunk


def test_chunk_borders_move_from_epoch_to_epoch() -> None:
    data = made(chunk_length=10).data(batch_size=3)
    assert len({tuple(next(data.batches(epoch)).inputs[0].tolist()) for epoch in range(20)}) > 5


@given(evaluation=st.integers(2, 50))
def test_every_symbol_but_the_first_is_predicted_once(evaluation: int) -> None:
    loaded = made(evaluation=evaluation)
    batches = list(loaded.data(batch_size=2, evaluation_batch_size=1).evaluation_batches("validation"))
    targets = [symbol for batch in batches for symbol in batch.targets.flatten().tolist()]
    assert targets == loaded.validation.tolist()[1:]
    inputs = [symbol for batch in batches for symbol in batch.inputs.flatten().tolist()]
    assert inputs == loaded.validation.tolist()[:-1]
    assert all(batch.starts for batch in batches)


def test_more_rows_than_the_text_can_feed_are_refused_with_the_limit() -> None:
    with pytest.raises(SpecError, match="at most 39") as refused:
        made(chunk_length=5).data(batch_size=40)
    assert refused.value.errors[0].pointer == "#/training/batch_size"
    made(chunk_length=5).data(batch_size=39)


def test_a_text_becomes_positions_in_its_sorted_alphabet() -> None:
    alphabet, ids = encode("caf\u00e9 a\n".encode(), "f")
    assert alphabet == "\n acf\u00e9"
    assert "".join(alphabet[i] for i in ids) == "caf\u00e9 a\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"ab\xff", "byte 2 is 0xff"),
        ("".join(map(chr, range(500, 800))).encode(), "300 different characters"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DatasetUnavailable, match=reason):
        encode(content, "input.txt")
