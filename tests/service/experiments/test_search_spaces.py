"""Declared search spaces: every algorithm has one, and every value in it is one that the algorithm takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.experiments.rules import Range
from service.experiments.search_spaces import SEARCH_SPACES, points
from trainers.registry import ALGORITHMS
from trainers.resolve import resolve

NETWORK = {"kind": "mlp", "hidden": [8, 8], "activation": "tanh"}


def spec(algorithm: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    return {"algorithm": algorithm, "dataset": "digits", "network": NETWORK, "hyperparameters": hyperparameters}


def test_every_algorithm_declares_one() -> None:
    assert set(SEARCH_SPACES) == set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", list(SEARCH_SPACES))
def test_every_corner_is_taken_by_the_algorithm(algorithm: str) -> None:
    space = SEARCH_SPACES[algorithm]
    for share in (0.0, 0.5, 1 - 1e-12):
        values = {name: found.value(share) for name, found in space.items()}
        assert resolve(spec(algorithm, values)).hyperparameters.items() >= values.items()


@pytest.mark.parametrize("algorithm", list(SEARCH_SPACES))
def test_the_default_lies_within_each_range(algorithm: str) -> None:
    defaults = resolve(spec(algorithm, {})).hyperparameters
    for name, found in SEARCH_SPACES[algorithm].items():
        value = defaults[name]
        if found.choices is not None:
            assert value in found.choices, name
        elif name != "weight_decay" and value is not None:  # off by default, which no log scale reaches
            assert found.low is not None
            assert found.high is not None
            assert found.low <= value <= found.high, name


@pytest.mark.parametrize("algorithm", list(SEARCH_SPACES))
def test_the_space_has_as_many_dimensions_as_others_or_nearly(algorithm: str) -> None:
    """Equal numbers of trials are no equal chance where one space is far larger than another."""
    assert 3 <= len(SEARCH_SPACES[algorithm]) <= 4


def test_the_documented_spaces_are_these() -> None:
    """A space that was changed after the data would not be a declared one."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "compare-algorithms.md").read_text(encoding="utf-8")
    shared = SEARCH_SPACES["backprop"]
    for algorithm, space in SEARCH_SPACES.items():
        row = next(line for line in page.splitlines() if line.startswith("|") and algorithm in line.split("|")[1])
        for name, found in space.items():
            if algorithm != "backprop" and shared.get(name) == found:
                continue  # said in the first row
            assert _written(name, found) in row, (algorithm, name)


def _written(name: str, found: Range) -> str:
    if found.choices is not None:
        return f"{name} {' or '.join(map(str, found.choices))}"
    kind = " (whole)" if found.integer else " (linear)" if found.scale == "linear" else ""
    return f"{name} {found.low:g}–{found.high:g}{kind}"


def test_points_fill_the_space_evenly_and_repeat() -> None:
    space = SEARCH_SPACES["backprop"]
    found = points(space, 32, seed=3)
    assert found == points(space, 32, seed=3)
    assert found != points(space, 32, seed=4)
    assert found[:8] == points(space, 8, seed=3), "more trials go on where fewer ended"
    logs = np.log10([each["learning_rate"] for each in found])
    counts, _ = np.histogram(logs, bins=8, range=(-4, np.log10(3e-2)))
    assert counts.min() >= 3, "random draws would leave some of eight stretches nearly empty"
    assert {each["schedule"] for each in found} == {"constant", "cosine"}


def test_whole_numbers_reach_both_ends_equally_often() -> None:
    found = Range(low=1, high=4, integer=True)
    values = [found.value(share) for share in np.linspace(0, 1, 4000, endpoint=False)]
    assert [values.count(value) for value in (1, 2, 3, 4)] == [1000] * 4


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"low": 1.0},
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "scale": "log"},
        {"choices": ["a"]},
        {"choices": ["a", "a"]},
        {"choices": ["a", "b"], "low": 0.0, "high": 1.0},
    ],
)
def test_a_range_that_says_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate(wrong)
