"""`fit`: what a run tells, saves and refuses, whatever the algorithm."""

from pathlib import Path
from typing import Any

import pytest

from trainers import fit
from trainers.checkpoint import load
from trainers.errors import CheckpointError, Diverged
from trainers.events import CheckpointSaved, Event, Metrics, Started, Stopped, Succeeded
from trainers.loop import StopRequest


def spec_of(**training: Any) -> dict[str, Any]:
    return {
        "algorithm": "backprop",
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [16]},
        "training": {"epochs": 3, "batch_size": 100, "seed": 1, "threads": 1, "device": "cpu"} | training,
    }


def told(spec: dict[str, Any], **keywords: Any) -> list[Event]:
    events: list[Event] = []
    fit(spec, on_event=events.append, **keywords)
    return events


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_run_begins_with_its_whole_spec_and_ends_with_its_result() -> None:
    events = told(spec_of())
    assert isinstance(events[0], Started)
    assert events[0].spec["hyperparameters"]["learning_rate"] == 0.001
    assert isinstance(events[-1], Succeeded)
    assert events[-1].result["test_accuracy"] == of(Metrics, events)[-1].values["test_accuracy"]


def test_a_spec_copied_from_a_finished_run_repeats_it_exactly() -> None:
    first = told({"algorithm": "backprop", "dataset": "digits", "training": {"epochs": 1}})
    again = told(first[0].spec)  # type: ignore[attr-defined]
    assert first[-1].result["weights_sha256"] == again[-1].result["weights_sha256"]  # type: ignore[attr-defined]


def test_result_counts_every_step_and_sample() -> None:
    result = told(spec_of())[-1].result  # type: ignore[attr-defined]
    assert (result["epochs"], result["passes"]) == (3, 3)
    assert result["samples"] == 3 * result["dataset"]["sizes"]["train"]
    matrix = result["confusion_matrix"]
    assert sum(map(sum, matrix)) == result["dataset"]["sizes"]["test"]


def test_one_of_the_saved_epochs_is_the_best(tmp_path: Path) -> None:
    events = told(spec_of(), output=tmp_path)
    saved = of(CheckpointSaved, events)
    assert [each.epoch for each in saved] == [1, 2, 3]
    best = [each for each in saved if "best" in each.kinds][-1]
    assert best.epoch == events[-1].result["best"]["epoch"]  # type: ignore[attr-defined]
    assert all(Path(each.path).stat().st_size == each.bytes for each in saved)


def test_a_stop_request_saves_where_it_stands(tmp_path: Path) -> None:
    events = told(spec_of(), output=tmp_path, stop=StopRequest(after_steps=5))
    assert isinstance(events[-1], Stopped)
    assert load(of(CheckpointSaved, events)[-1].path).header["position"]["done"] == 5


def test_evaluation_within_an_epoch_is_told_at_its_step() -> None:
    events = of(Metrics, told(spec_of(epochs=1, evaluate_every_steps=4, evaluate_first_steps=8)))
    assert [event.step for event in events[:-1]] == [4, 8]


def test_a_reached_target_ends_the_run_early() -> None:
    result = told(spec_of(epochs=50, target_value=0.8))[-1].result  # type: ignore[attr-defined]
    assert result["stopped_early"] == "target"
    assert result["epochs"] < 50


def test_a_checkpoint_of_another_spec_is_refused(tmp_path: Path) -> None:
    part = fit(spec_of(), output=tmp_path, stop=StopRequest(after_steps=2))
    with pytest.raises(CheckpointError, match=r"training/batch_size is 100, not 50"):
        fit(spec_of(batch_size=50), resume=part.checkpoint)


def test_divergence_names_step_layer_and_quantity() -> None:
    spec = spec_of() | {
        "hyperparameters": {"optimizer": "sgd", "learning_rate": 1000.0},
        "network": {"kind": "mlp", "hidden": [16, 16], "activation": "identity"},
    }
    with pytest.raises(Diverged) as diverged:
        fit(spec)
    assert diverged.value.step >= 1
    assert diverged.value.layer in ("layer1", "layer2", "layer3")
    assert diverged.value.quantity in ("pre-activations", "teaching signal", "weights")
    with pytest.raises(Diverged) as again:
        fit(spec)
    assert str(again.value) == str(diverged.value)
