"""copy and repeat_copy: the published layout, the curriculum, and a state that goes on from any step."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.algorithms.base import StepReport
from trainers.datasets.bit_sequences import bit_sequences
from trainers.datasets.copy_tasks import Copy, CopyOptions, RepeatCopy, RepeatCopyOptions
from trainers.errors import SpecError

EASY, HARD = 0.01, 0.69  # nats a bit


def report(nats_per_bit: float, targets: torch.Tensor) -> StepReport:
    return StepReport({"loss": (torch.tensor(nats_per_bit * targets.numel()), targets.numel())})


def repeat_copy(seed: int = 0, batch_size: int = 3, steps: int = 1000, **options: Any) -> Any:
    return RepeatCopy.load(RepeatCopyOptions(**options), seed=seed).data(batch_size=batch_size, steps_per_epoch=steps)


def copy(seed: int = 0, batch_size: int = 3, steps: int = 1000, **options: Any) -> Any:
    return Copy.load(CopyOptions(**options), seed=seed).data(batch_size=batch_size, steps_per_epoch=steps)


@given(N=st.integers(1, 9), R=st.integers(1, 9))
def test_a_sequence_is_start_pattern_repeats_answer_end(N: int, R: int) -> None:
    inputs, targets = bit_sequences(4, N, R, torch.Generator().manual_seed(N), dtype=torch.float32)
    assert inputs.shape == (4, (R + 1) * N + 3, 10)
    assert targets.shape == (4, (R + 1) * N + 3, 9)
    pattern = inputs[:, 1 : N + 1, :8]
    assert set(pattern.unique().tolist()) <= {0.0, 1.0}
    assert (inputs[:, 0, 8] == 1).all()
    torch.testing.assert_close(inputs[:, N + 1, 9], torch.full((4,), R / 10))
    # Nothing else is told, and nothing else is asked for.
    assert inputs.count_nonzero() == pattern.count_nonzero() + 4 + 4
    for r in range(R):
        assert torch.equal(targets[:, N + 2 + r * N : N + 2 + (r + 1) * N, :8], pattern)
    assert (targets[:, -1, 8] == 1).all()
    assert targets.count_nonzero() == R * pattern.count_nonzero() + 4


def test_repeat_copy_grows_as_published() -> None:
    data = repeat_copy()
    sizes = []
    for batch in data.batches(0):
        measured = data.measurements()
        sizes.append((measured["pattern_length"], measured["repeats"]))
        data.observe(report(EASY, batch.targets))
        if len(sizes) == 7:
            break
    assert sizes == [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 3), (4, 4)]


def test_copy_only_grows_its_pattern() -> None:
    data = copy()
    for _, batch in zip(range(5), data.batches(0), strict=False):
        data.observe(report(EASY, batch.targets))
    assert data.measurements() == {
        "pattern_length": 6.0,
        "repeats": 1.0,
        "sequence_length": 15.0,
        "longest_solved": 13.0,
        "sequences_solved": 5.0,
    }


@pytest.mark.parametrize(("bits", "grows"), [(0.149, True), (0.151, False)])
def test_the_threshold_is_the_mean_cross_entropy_in_bits(bits: float, grows: bool) -> None:
    data = copy()
    data.observe(report(bits * math.log(2), next(data.batches(0)).targets))
    assert (data.measurements()["pattern_length"] == 2) is grows


def test_the_loss_counts_over_all_chunks_of_a_sequence() -> None:
    data = copy(length=4, chunk_length=4)  # 11 steps: chunks of 4, 4, 3
    batches = data.batches(0)
    for nats in (EASY, EASY, HARD):
        data.observe(report(nats, next(batches).targets))
    assert data.measurements()["pattern_length"] == 4
    for nats in (EASY, EASY, 0.2):
        data.observe(report(nats, next(batches).targets))
    assert data.measurements()["pattern_length"] == 5


def test_chunks_join_to_the_whole_sequence_and_only_the_first_starts() -> None:
    whole, chunked = copy(length=4), copy(length=4, chunk_length=4)
    chunks = [batch for _, batch in zip(range(3), chunked.batches(0), strict=False)]
    assert [batch.starts for batch in chunks] == [True, False, False]
    assert [batch.inputs.shape[1] for batch in chunks] == [4, 4, 3]
    sequence = next(whole.batches(0))
    assert torch.equal(torch.cat([batch.inputs for batch in chunks], 1), sequence.inputs)
    assert torch.equal(torch.cat([batch.targets for batch in chunks], 1), sequence.targets)


def test_a_sequence_goes_on_into_the_next_epoch() -> None:
    short, long = copy(length=4, chunk_length=4, steps=2), copy(length=4, chunk_length=4, steps=6)
    joined = [(b.starts, b.inputs.clone()) for epoch in range(3) for b in short.batches(epoch)]
    for (starts, inputs), batch in zip(joined, long.batches(0), strict=True):
        assert starts == batch.starts
        assert torch.equal(inputs, batch.inputs)


@given(
    losses=st.lists(st.sampled_from([EASY, HARD]), min_size=2, max_size=25),
    chunk=st.one_of(st.none(), st.integers(1, 8)),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_a_saved_state_goes_on_as_if_never_stopped(
    losses: list[float], chunk: int | None, seed: int, data: st.DataObject
) -> None:
    """Batches, curriculum and measurements, stopped after any step."""
    stop = data.draw(st.integers(0, len(losses) - 1))
    options = {"chunk_length": chunk, "seed": seed}

    def run(stream: Any, first: int, last: int) -> list[tuple[Any, ...]]:
        seen = []
        for step, batch in zip(range(first, last), stream.batches(0, first), strict=False):
            seen.append((batch.inputs.clone(), batch.targets.clone(), batch.starts))
            stream.observe(report(losses[step], batch.targets))
        return seen

    never = repeat_copy(**options)
    expected = run(never, 0, len(losses))
    stopped = repeat_copy(**options)
    run(stopped, 0, stop)
    resumed = repeat_copy(**options)
    resumed.load_state_dict(stopped.state_dict())
    for one, other in zip(run(resumed, stop, len(losses)), expected[stop:], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
        assert one[2] == other[2]
    assert resumed.measurements() == never.measurements()
    assert {k: float(v) for k, v in resumed.state_dict().items()} == {
        k: float(v) for k, v in never.state_dict().items()
    }


def test_a_saved_state_does_not_move_with_the_stream() -> None:
    data = copy(length=4, chunk_length=2)
    batches = data.batches(0)
    data.observe(report(HARD, next(batches).targets))
    state = data.state_dict()
    before = float(state["loss"])
    data.observe(report(HARD, next(batches).targets))
    assert float(state["loss"]) == before


def test_evaluation_has_the_length_reached_and_is_the_same_every_time() -> None:
    data = copy(length=3, evaluation_sequences=25)
    batches = list(data.evaluation_batches("test"))
    assert sum(len(batch.inputs) for batch in batches) == 25
    assert all(batch.inputs.shape[1] == 9 and batch.starts for batch in batches)
    assert torch.equal(batches[0].inputs, next(data.evaluation_batches("test")).inputs)
    assert not torch.equal(batches[0].inputs, next(data.evaluation_batches("validation")).inputs)
    data.observe(report(EASY, next(data.batches(0)).targets))
    assert next(data.evaluation_batches("test")).inputs.shape[1] == 11


def test_without_a_curriculum_the_length_stays() -> None:
    data = copy(length=5, curriculum=False)
    for _, batch in zip(range(3), data.batches(0), strict=False):
        assert batch.inputs.shape[1] == 13
        data.observe(report(EASY, batch.targets))
    assert data.measurements()["longest_solved"] == 13


def test_the_curriculum_stops_at_its_limit() -> None:
    data = copy(max_length=3)
    for _, batch in zip(range(6), data.batches(0), strict=False):
        data.observe(report(EASY, batch.targets))
    assert data.measurements()["pattern_length"] == 3


def test_seeds_and_sequences_differ() -> None:
    data = copy(length=4, batch_size=1)
    batches = data.batches(0)
    first, second = next(batches).inputs.clone(), next(batches).inputs.clone()
    assert not torch.equal(first, second)
    assert not torch.equal(first, next(copy(length=4, batch_size=1, seed=1).batches(0)).inputs)


def test_the_task_names_a_length_only_where_it_is_fixed() -> None:
    assert RepeatCopy.task(RepeatCopyOptions(length=7, repeats=7)).time_steps is None
    fixed = RepeatCopy.task(RepeatCopyOptions(length=7, repeats=7, curriculum=False))
    assert (fixed.time_steps, fixed.input_shape, fixed.outputs) == (59, (10,), 9)


def test_how_long_an_epoch_of_a_stream_is_must_be_said() -> None:
    with pytest.raises(SpecError) as refused:
        Copy.load(CopyOptions(), seed=0).data(batch_size=3)
    assert refused.value.errors[0].pointer == "#/training/steps_per_epoch"
