"""Every registered algorithm, on every kind of network that it trains: what it declares stands up to the tests."""

import json
import time
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainers import checkpoint as checkpoints
from trainers import fit, list_algorithms
from trainers.describe import describe
from trainers.events import Event, Succeeded
from trainers.interventions import Report, intervene
from trainers.interventions.trials import Trials, fresh
from trainers.interventions.watches import Watch
from trainers.registry import NETWORKS
from trainers.resolve import resolve_parts

EVERY = pytest.mark.parametrize("algorithm", list_algorithms())
MLP: dict[str, Any] = {"kind": "mlp", "hidden": [24, 20, 16], "activation": "tanh"}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("digits", MLP),
    "convnet": (
        "digits",
        {"kind": "convnet", "convolutions": [{"filters": 6, "pool": "max"}, {"filters": 8}], "hidden": [12]},
    ),
    "resnet": ("digits", {"kind": "resnet", "blocks": [1, 1], "widths": [4, 6]}),
    "residual_mlp": ("digits", {"kind": "residual_mlp", "width": 20, "blocks": 3}),
    "recurrent": ("sequential_mnist", {"kind": "recurrent", "cell": "tanh", "hidden": 16, "layers": 2}),
}


def spec_of(algorithm: str, kind: str = "mlp", **hyperparameters: Any) -> dict[str, Any]:
    dataset, network = SMALL[kind]
    return {
        "algorithm": algorithm,
        "dataset": dataset,
        "network": network,
        "hyperparameters": hyperparameters,
        "training": {"epochs": 3, "seed": 1, "threads": 1, "device": "cpu"},
    }


@cache
def _report(spec: str) -> Report:
    return intervene(json.loads(spec))


def report_of(algorithm: str, kind: str = "mlp", **hyperparameters: Any) -> Report:
    """Made once, for all tests that look at it."""
    return _report(json.dumps(spec_of(algorithm, kind, **hyperparameters)))


def cases() -> list[tuple[str, str]]:
    return [(name, kind) for name in list_algorithms() for kind in SMALL if kind in describe(name)["trains"]]


@pytest.mark.parametrize(("algorithm", "kind"), cases())
def test_what_it_declares_is_confirmed_or_untested_with_a_reason(algorithm: str, kind: str) -> None:
    report = report_of(algorithm, kind)
    declared = describe(algorithm)["properties"]
    assert [result.property for result in report.results] == list(declared)
    for result in report.results:
        assert result.verdict != "refuted", f"{result.property}: {result.evidence}"
        assert result.evidence.endswith("."), result.property
    # Most can be tested; a chain of layers leaves at most what layers cannot tell.
    untested = {result.property for result in report.results if result.verdict == "untested"}
    assert untested <= {"layer_parallel", "backward_locking"}


VARIANTS = [
    ("backprop", {"trained_layers": "output"}),
    ("alternating_minimization", {"mode": "offline"}),
    ("alternating_minimization", {"weight_update": "memory"}),
    ("difference_target_propagation", {"targets_start": "output"}),
    ("difference_target_propagation", {"inverse_loss": "local_difference_reconstruction"}),
    ("difference_target_propagation", {"feedback_schedule": "step"}),
    ("hsic_bottleneck", {"layer_order": "parallel"}),
    ("hsic_bottleneck", {"readout": "after"}),
    ("hsic_bottleneck", {"readout": "match"}),
    ("hsic_bottleneck", {"criterion": "phsic"}),
    ("synthetic_gradients", {"unlock": "full"}),
    ("synthetic_gradients", {"interfaces": [2]}),
    ("synthetic_gradients", {"conditioned": False}),
]


@pytest.mark.parametrize(("algorithm", "hyperparameters"), VARIANTS, ids=json.dumps)
def test_what_its_variants_declare_stands_up(algorithm: str, hyperparameters: dict[str, Any]) -> None:
    for result in report_of(algorithm, **hyperparameters).results:
        assert result.verdict != "refuted", f"{result.property}: {result.evidence}"


def test_the_verdicts_tell_the_five_algorithms_apart() -> None:
    found = {name: report_of(name) for name in list_algorithms()}
    transported = {name: report.of("weight_transport").layers for name, report in found.items()}
    assert transported["backprop"] == ("layer1", "layer2", "layer3")
    assert transported["hsic_bottleneck"] == ()
    later = found["synthetic_gradients"].of("weight_transport").evidence
    assert "no update changed in the same step, but from step 2 on" in later
    assert "layer4.weight wherever" in found["difference_target_propagation"].of("weight_transport").evidence
    assert "layer2.weight" not in found["difference_target_propagation"].of("weight_transport").evidence


class Unwatching(TorchDispatchMode):
    """Does nothing. An algorithm may take other products, whose last bits differ, where no mode is on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@EVERY
def test_watching_alters_nothing(algorithm: str) -> None:
    resolved = resolve_parts(spec_of(algorithm))
    trials = Trials(resolved)
    network, learner = fresh(resolved)
    for moment in trials.moments:
        with Unwatching():
            learner.step(trials._batch(moment), moment)
    watched = trials.run(Watch(trials.seed)).states[-1]
    for name, value in network.named_parameters():
        assert torch.equal(value, watched[name]), name


@EVERY
def test_equal_seeds_give_equal_reports(algorithm: str) -> None:
    assert intervene(spec_of(algorithm)) == report_of(algorithm)


def test_the_tests_draw_from_no_global_generator() -> None:
    before = torch.get_rng_state()
    intervene(spec_of("difference_target_propagation"))
    assert torch.equal(torch.get_rng_state(), before)


@EVERY
def test_a_run_carries_the_results_and_ends_with_the_same_weights(algorithm: str) -> None:
    results = {}
    told: list[Event] = []
    for asked in (False, True):
        spec = spec_of(algorithm)
        spec["training"] |= {"epochs": 1, "batch_size": 200, "interventions": asked}
        outcome = fit(spec, on_event=told.append)
        assert outcome.result is not None
        results[asked] = outcome.result
        assert checkpoints.weights_sha256(dict(outcome.parts.network.state_dict())) == outcome.result["weights_sha256"]
    assert results[True]["weights_sha256"] == results[False]["weights_sha256"]
    assert results[True]["validation_loss"] == results[False]["validation_loss"]
    assert "interventions" not in results[False]
    entries = results[True]["interventions"]
    assert entries == json.loads(json.dumps(entries))
    assert {entry["property"]: entry["declared"] for entry in entries} == {
        name: each["answer"] for name, each in describe(algorithm)["properties"].items()
    }
    assert results[True]["locality"]["phases"]
    last = told[-1]
    assert isinstance(last, Succeeded)
    assert last.result["interventions"] == entries


def test_a_network_without_hidden_layers_is_untested() -> None:
    spec = spec_of("backprop") | {"network": {"kind": "mlp", "hidden": []}}
    assert {result.verdict for result in intervene(spec).results} == {"untested"}


def test_layers_that_form_no_chain_are_untested() -> None:
    if "two_networks" not in NETWORKS:
        pytest.fail("this test needs a network whose layers are no chain")
    spec = spec_of("backprop") | {"dataset": "digit_counting", "network": {"kind": "two_networks"}}
    spec["training"] = {"seed": 1, "steps_per_epoch": 5}
    report = intervene(spec)
    assert {result.verdict for result in report.results} == {"untested"}
    assert report.locality.reads == {}


def test_a_stochastic_algorithm_that_happens_not_to_move_is_untested() -> None:
    report = intervene(spec_of("synthetic_gradients", update_probability=0.001))
    assert report.of("update_locking").verdict == "untested"
    assert "No hidden layer moved" in report.of("update_locking").evidence


def test_a_deep_network_takes_seconds() -> None:
    spec = spec_of("backprop") | {"network": {"kind": "mlp", "hidden": [12] * 49, "activation": "tanh"}}
    began = time.process_time()
    report = intervene(spec)
    assert time.process_time() - began < 30
    assert report.of("update_locking").layers[0] == "layer1"
    assert len(report.of("update_locking").layers) == 6
