"""Checkpoints: whole, exact, never pickled, and refused with a sentence when they are not what they should be."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from trainers import checkpoint as checkpoints
from trainers.errors import CheckpointError

keys = st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5) | st.floats()
tensors = st.builds(lambda values: torch.tensor(values, dtype=torch.float64), st.lists(st.floats(width=32), max_size=4))
states = st.recursive(
    st.dictionaries(keys, scalars | tensors, max_size=4),
    lambda inner: st.dictionaries(keys, inner | scalars | tensors, max_size=4),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(7), other.nan_to_num(7))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@given(states)
def test_flatten_and_unflatten_are_inverse(state: dict[str, object]) -> None:
    assert same(checkpoints.unflatten(*checkpoints.flatten(state)), state)


def test_what_is_saved_is_loaded_with_its_header(tmp_path: Path) -> None:
    state = {"a": {"w": torch.arange(6.0).reshape(2, 3)}, "n": 3, "x": 0.1, "never": math.inf, "empty": {}}
    written = checkpoints.save(tmp_path / "c.safetensors", state, {"spec": {"algorithm": "backprop"}})
    loaded = checkpoints.load(written.path)
    assert same(loaded.state, state)
    assert loaded.header["spec"] == {"algorithm": "backprop"}
    assert written.bytes == written.path.stat().st_size


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    state = {"w": torch.ones(3), "n": 1}
    sums = {checkpoints.save(tmp_path / f"{i}.safetensors", state, {}).sha256 for i in range(2)}
    assert len(sums) == 1


def test_shared_storage_is_saved_as_separate_tensors(tmp_path: Path) -> None:
    base = torch.arange(4.0)
    written = checkpoints.save(tmp_path / "c.safetensors", {"a": base, "b": base[1:]}, {})
    assert torch.equal(load_file(written.path)["b"], base[1:])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    written = checkpoints.save(tmp_path / "c.safetensors", {"w": torch.ones(100)}, {})
    written.path.write_bytes(written.path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(written.path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="not an Altprop checkpoint"):
        checkpoints.load(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.load(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load(tmp_path / "text.safetensors")


def test_a_state_with_anything_else_in_it_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="list"):
        checkpoints.flatten({"a": [1, 2]})
    with pytest.raises(TypeError, match="separates"):
        checkpoints.flatten({"a/b": 1})


def test_no_temporary_file_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        checkpoints.save(tmp_path / "c.safetensors", {"bad": object()}, {})
    assert list(tmp_path.iterdir()) == []
