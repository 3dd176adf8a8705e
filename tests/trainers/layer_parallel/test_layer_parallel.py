"""Layers in several processes: the same numbers as in one, stops and resumes, and a clean end when one is lost."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from trainers import fit
from trainers.errors import SpecError
from trainers.events import Event, Metrics
from trainers.layer_parallel import launch
from trainers.layer_parallel.group import shares
from trainers.layer_parallel.launch import ProcessLost, fit_layer_parallel
from trainers.loop import StopRequest

VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "cDNI": ({}, 2),
    "deep synthesizers, random updates": (
        {"synthesizer_layers": 1, "synthesizer_width": 12, "conditioned": False, "update_probability": 0.5},
        2,
    ),
    "full unlock": ({"unlock": "full", "schedule": "cosine"}, 3),
}


def spec_of(**hyperparameters: Any) -> dict[str, Any]:
    return {
        "algorithm": "synthetic_gradients",
        "hyperparameters": hyperparameters,
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [20, 16, 12], "batch_norm": True},
        "training": {"epochs": 2, "batch_size": 200, "seed": 3, "threads": 1, "device": "cpu"},
    }


def metrics_of(events: list[Event]) -> list[dict[str, float | None]]:
    return [event.values for event in events if isinstance(event, Metrics)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_numbers_are_those_of_one_process(variant: str) -> None:
    hyperparameters, processes = VARIANTS[variant]
    alone: list[Event] = []
    together: list[Event] = []
    one = fit(spec_of(**hyperparameters), on_event=alone.append)
    several = fit_layer_parallel(spec_of(**hyperparameters), processes=processes, on_event=together.append)
    assert one.result is not None
    assert several.result is not None
    assert several.result["weights_sha256"] == one.result["weights_sha256"]
    for ours, theirs in zip(metrics_of(together), metrics_of(alone), strict=True):
        # Losses of synthesizers are added up in another order.
        assert ours.pop("train_synthesizer_loss") == pytest.approx(theirs.pop("train_synthesizer_loss"))
        assert ours == theirs


def test_a_run_stopped_in_two_processes_goes_on_in_two_or_in_one(tmp_path: Path) -> None:
    spec = spec_of(update_probability=0.7)
    whole = fit(spec)
    part = fit_layer_parallel(spec, processes=2, output=tmp_path / "part", stop=StopRequest(after_steps=6))
    assert part.result is None
    assert part.step == 6
    in_one = fit(spec, resume=part.checkpoint)
    in_two = fit_layer_parallel(spec, processes=2, resume=part.checkpoint)
    assert whole.result is not None
    for rest in (in_one, in_two):
        assert rest.result is not None
        assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
        assert rest.result["train_loss"] == whole.result["train_loss"]


def test_a_killed_process_ends_the_run_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start = launch.start_process

    def start_and_remember(rank: int, plan: dict[str, Any]) -> subprocess.Popen[str]:
        started.append(start(rank, plan))
        return started[-1]

    def kill(event: Event) -> None:
        if isinstance(event, Metrics):
            started[0].kill()

    monkeypatch.setattr(launch, "start_process", start_and_remember)
    spec = spec_of()
    spec["training"]["epochs"] = 1000
    with pytest.raises(ProcessLost, match="owns some of the layers, was lost"):
        fit_layer_parallel(spec, processes=2, on_event=kill)
    assert started[0].poll() is not None


def test_more_processes_than_modules_are_refused() -> None:
    with pytest.raises(SpecError, match="between 1 and 4"):
        fit_layer_parallel(spec_of(), processes=5)


def test_an_algorithm_that_waits_for_the_layers_above_is_refused() -> None:
    spec = spec_of() | {"algorithm": "backprop", "hyperparameters": {}}
    with pytest.raises(SpecError, match="synthetic_gradients"):
        fit_layer_parallel(spec, processes=2)


@pytest.mark.parametrize(
    ("costs", "size", "expected"),
    [
        ([1, 1, 1, 1], 2, [(0, 2), (2, 4)]),
        ([10, 1, 1, 1], 2, [(0, 1), (1, 4)]),
        ([1, 1, 1, 10], 3, [(0, 2), (2, 3), (3, 4)]),
        ([5], 1, [(0, 1)]),
    ],
)
def test_shares_are_even_and_never_empty(costs: list[float], size: int, expected: list[tuple[int, int]]) -> None:
    assert [(share.start, share.stop) for share in shares(costs, size)] == expected
