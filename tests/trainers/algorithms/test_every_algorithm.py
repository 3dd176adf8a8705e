"""The contract that every registered algorithm keeps. A new algorithm passes by existing; nothing here names one."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import checkpoint as checkpoints
from trainers import fit, list_algorithms, list_networks
from trainers.assembly import assemble
from trainers.describe import describe
from trainers.errors import Diverged, SpecError
from trainers.events import Event, Metrics
from trainers.loop import Outcome, StopRequest
from trainers.resolve import resolve_parts

EVERY = pytest.mark.parametrize("algorithm", list_algorithms())


def spec_of(algorithm: str, **training: Any) -> dict[str, Any]:
    """A small run on digits, 3 hidden layers of unequal width, that every algorithm trains."""
    return {
        "algorithm": algorithm,
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [32, 24, 16], "activation": "tanh"},
        "training": {"epochs": 2, "batch_size": 100, "seed": 3, "threads": 1, "device": "cpu", **training},
    }


def run(spec: dict[str, Any], folder: Path, **keywords: Any) -> tuple[Outcome, list[Event]]:
    events: list[Event] = []
    outcome = fit(spec, on_event=events.append, output=folder, **keywords)
    return outcome, events


def metrics_of(events: list[Event]) -> list[dict[str, float | None]]:
    return [event.values for event in events if isinstance(event, Metrics)]


@EVERY
@pytest.mark.parametrize("stop_after", ["first step", "middle", "last step of a pass", "one before the end"])
def test_a_stopped_run_goes_on_bit_for_bit(algorithm: str, stop_after: str, tmp_path: Path) -> None:
    spec = spec_of(algorithm)
    whole, whole_events = run(spec, tmp_path / "whole")
    steps_per_pass = whole.parts.data.steps_per_pass
    after = {
        "first step": 1,
        "middle": steps_per_pass + steps_per_pass // 2,
        "last step of a pass": steps_per_pass,
        "one before the end": whole.step - 1,
    }[stop_after]

    part, first_events = run(spec, tmp_path / "part", stop=StopRequest(after_steps=after))
    assert part.result is None
    assert part.step == after
    rest, last_events = run(spec, tmp_path / "rest", resume=part.checkpoint)

    assert rest.result is not None
    assert whole.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
    assert metrics_of(first_events) + metrics_of(last_events) == metrics_of(whole_events)


@EVERY
def test_a_checkpoint_holds_the_whole_state(algorithm: str, tmp_path: Path) -> None:
    outcome, _ = run(spec_of(algorithm, epochs=1), tmp_path)
    assert outcome.checkpoint is not None
    saved = checkpoints.load(outcome.checkpoint).state["algorithm"]

    fresh = assemble(resolve_parts(spec_of(algorithm, epochs=1))).algorithm
    fresh.load_state_dict(saved)

    assert_equal_states(fresh.state_dict(), outcome.parts.algorithm.state_dict())


@EVERY
def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(algorithm: str, tmp_path: Path) -> None:
    sums = []
    for seed in (3, 3, 4):
        outcome, _ = run(spec_of(algorithm, epochs=1, seed=seed), tmp_path / str(len(sums)))
        assert outcome.result is not None
        sums.append(outcome.result["weights_sha256"])
    assert sums[0] == sums[1] != sums[2]


@EVERY
def test_diagnostics_change_nothing(algorithm: str, tmp_path: Path) -> None:
    sums = set()
    for every in (None, 1, 3):
        outcome, _ = run(spec_of(algorithm, diagnose_every_steps=every), tmp_path / str(every))
        assert outcome.result is not None
        sums.add(outcome.result["weights_sha256"])
    assert len(sums) == 1


@EVERY
def test_predicting_changes_nothing(algorithm: str, tmp_path: Path) -> None:
    outcome, _ = run(spec_of(algorithm, epochs=1), tmp_path)
    learner = outcome.parts.algorithm
    before = checkpoints.flatten(learner.state_dict())
    batch = next(iter(outcome.parts.data.evaluation_batches("test")))
    with torch.no_grad():
        once, twice = learner.predict(batch.inputs), learner.predict(batch.inputs)
    assert torch.equal(once, twice)
    assert_equal_states(unflattened(before), learner.state_dict())


@EVERY
def test_it_learns_digits(algorithm: str, tmp_path: Path) -> None:
    spec = spec_of(algorithm, epochs=30, batch_size=50, diagnose_every_steps=None)
    spec["network"] = {"kind": "mlp", "hidden": [64, 64], "activation": "tanh"}
    outcome, _ = run(spec, tmp_path)
    assert outcome.result is not None
    assert outcome.result["best"]["test_accuracy"] > 0.85  # chance: 0.1


@EVERY
def test_a_value_that_is_not_finite_ends_the_run_as_diverged(algorithm: str) -> None:
    resolved = resolve_parts(spec_of(algorithm))
    parts = assemble(resolved)
    with torch.no_grad():
        parts.network.layers[1].get_parameter("weight")[0, 0] = math.nan
    from trainers.loop import Run
    from trainers.losses import NonFiniteLoss

    with pytest.raises((Diverged, NonFiniteLoss)):
        Run(parts, on_event=lambda event: None).go()


@EVERY
def test_unknown_hyperparameters_are_refused_by_name(algorithm: str) -> None:
    spec = spec_of(algorithm) | {"hyperparameters": {"learning_rat": 0.1}}
    with pytest.raises(SpecError) as refusal:
        resolve_parts(spec)
    assert refusal.value.errors[0].pointer == "#/hyperparameters/learning_rat"


@EVERY
@pytest.mark.parametrize("kind", list_networks())
def test_it_trains_the_networks_it_declares_and_refuses_the_others_with_a_reason(algorithm: str, kind: str) -> None:
    dataset = {"recurrent": "sequential_mnist", "two_networks": "digit_counting"}.get(kind, "mnist")
    cell = {"cell": "tanh"} if kind == "recurrent" else {}
    training = {"steps_per_epoch": 5} if dataset == "digit_counting" else {}
    spec = {"algorithm": algorithm, "dataset": dataset, "network": {"kind": kind, **cell}, "training": training}
    if kind in describe(algorithm)["trains"]:
        assert resolve_parts(spec).spec.network["kind"] == kind
        return
    with pytest.raises(SpecError) as refusal:
        resolve_parts(spec)
    assert refusal.value.errors[0].pointer.startswith("#/network")
    assert len(refusal.value.sentence) > 30


@EVERY
def test_a_resolved_spec_resolves_to_itself(algorithm: str) -> None:
    once = resolve_parts(spec_of(algorithm)).spec
    assert resolve_parts(once).spec == once


@EVERY
def test_properties_are_declared_with_reasons(algorithm: str) -> None:
    facts = describe(algorithm)
    for question, declared in facts["properties"].items():
        assert declared["answer"] in ("yes", "no", "partly"), question
        assert declared["reason"], question
    assert "mlp" in facts["trains"]
    for name, field in facts["hyperparameters"]["properties"].items():
        assert "default" in field, f"{name} has no default"


def unflattened(flat: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return checkpoints.unflatten(*flat)


def assert_equal_states(one: dict[str, Any], other: dict[str, Any]) -> None:
    tensors, numbers = checkpoints.flatten(one)
    other_tensors, other_numbers = checkpoints.flatten(other)
    assert numbers == other_numbers
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name
