"""Whole runs of every variant through `fit`, resumed bit for bit, with their pictures; and dependences in backprop."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from trainers import fit
from trainers.algorithms.kernels import normalized_hsic
from trainers.assembly import assemble
from trainers.datasets.declaration import Task
from trainers.diagnostics.dependence import dependences
from trainers.diagnostics.looking import undisturbed
from trainers.events import Artefact, Diagnostics, Event
from trainers.loop import StopRequest
from trainers.networks.mlp import MLP, MLPOptions
from trainers.objective import Objective
from trainers.recipes import RECIPES
from trainers.resolve import resolve_parts
from trainers.streams import StreamBook

MLP_NETWORK = {"kind": "mlp", "hidden": [32, 32], "activation": "relu", "batch_norm": True, "batch_norm_affine": False}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "format-trained": ({"readout": "after", "readout_epochs": 2, "readout_learning_rate": 0.02}, MLP_NETWORK),
    "both at once": ({"readout": "together"}, MLP_NETWORK),
    "unformatted": (
        {"readout": "match", "sigma": 6.0, "label_weight": 200.0},
        {**MLP_NETWORK, "batch_norm_output": True, "output_activation": "relu"},
    ),
    "combined sigma": ({"readout": "after", "readout_epochs": 2, "branch_sigmas": [1.0, 5.0, 10.0]}, MLP_NETWORK),
    "residual": (
        {"readout": "after", "readout_epochs": 2, "readout_learning_rate": 0.02},
        {"kind": "resnet", "blocks": [1], "widths": [8], "block": "single", "kernel": 3, "hidden": [16]},
    ),
    "random features": ({"kernel_approximation": "random_features", "random_features": 32}, MLP_NETWORK),
    "phsic": ({"criterion": "phsic", "groups": 8, "kernel": "gaussian", "sigma": 1.0}, MLP_NETWORK),
}


def spec_of(variant: str, **training: Any) -> dict[str, Any]:
    chosen, network = VARIANTS[variant]
    return {
        "algorithm": "hsic_bottleneck",
        "dataset": "digits",
        "hyperparameters": chosen,
        "network": network,
        "training": {"epochs": 4, "batch_size": 64, "seed": 5, "threads": 1, "device": "cpu", **training},
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_ends_with_its_pictures(variant: str, tmp_path: Path) -> None:
    events: list[Event] = []
    outcome = fit(spec_of(variant), on_event=events.append, output=tmp_path)
    assert outcome.result is not None
    assert outcome.result["test_accuracy"] > 0.3  # chance: 0.1
    artefacts = {event.name: event for event in events if isinstance(event, Artefact)}
    assert set(artefacts) == {"dependence_per_layer.svg", "accuracy_by_pass.svg", "activations_by_class.svg"}
    for artefact in artefacts.values():
        assert ElementTree.parse(artefact.path).getroot().tag.endswith("svg")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_goes_on_bit_for_bit(variant: str, tmp_path: Path) -> None:
    whole = fit(spec_of(variant, epochs=3), output=tmp_path / "whole")
    part = fit(spec_of(variant, epochs=3), output=tmp_path / "part", stop=StopRequest(after_steps=whole.step // 2))
    rest = fit(spec_of(variant, epochs=3), output=tmp_path / "rest", resume=part.checkpoint)
    one, other = whole.parts.algorithm.state_dict(), rest.parts.algorithm.state_dict()
    assert torch.equal(one["history"]["values"], other["history"]["values"])
    inputs = next(iter(whole.parts.data.evaluation_batches("test"))).inputs
    with torch.no_grad():
        assert torch.equal(whole.parts.algorithm.predict(inputs), rest.parts.algorithm.predict(inputs))


def test_history_counts_all_passes(tmp_path: Path) -> None:
    outcome = fit(spec_of("unformatted"), output=tmp_path)
    history = outcome.parts.algorithm.history  # type: ignore[attr-defined]
    assert history.passes == 8  # four epochs, each a pass that trains and one that counts
    assert history.accuracy_at == [2, 4, 6, 8]


def test_a_run_in_bfloat16_keeps_its_kernels_in_float32(tmp_path: Path) -> None:
    outcome = fit(spec_of("both at once", precision="bfloat16"), output=tmp_path)
    assert outcome.result is not None
    assert outcome.result["test_accuracy"] > 0.3


def test_diagnostics_of_backprop_show_dependences_that_are_normalized_hsic(tmp_path: Path) -> None:
    events: list[Event] = []
    spec = spec_of("both at once", diagnose_every_steps=10) | {"algorithm": "backprop", "hyperparameters": {}}
    fit(spec, on_event=events.append, output=tmp_path)
    tables = [event.layers for event in events if isinstance(event, Diagnostics)]
    assert all(row["nhsic_input"] > 0 and row["nhsic_label"] > 0 for table in tables for row in table)
    assert tables[-1][-1]["nhsic_label"] > tables[0][-1]["nhsic_label"]  # the top layer comes to depend on the label

    parts = assemble(resolve_parts(spec))
    batch = next(iter(parts.data.batches(0)))
    sums = dependences(parts.network, parts.objective, batch)
    with torch.no_grad(), undisturbed(parts.network):
        z = parts.network.activations(batch.inputs)[2].double()
    expected = normalized_hsic(z, batch.inputs.double())
    assert float(sums["layer2", "nhsic_input"]) == pytest.approx(float(expected), rel=1e-9)


def test_dependences_are_blank_for_other_tasks() -> None:
    network = MLP.build(MLPOptions(hidden=[4]), Task("regression", (3,), 2), StreamBook(1))
    batch_type = type(next(iter(assemble(resolve_parts(spec_of("phsic"))).data.batches(0))))
    assert dependences(network, Objective("squared_error", 2), batch_type(torch.rand(5, 3), torch.rand(5, 2))) == {}


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("hsic-bottleneck-")])
def test_every_recipe_resolves_in_both_forms(name: str) -> None:
    recipe = RECIPES[name]
    for form in (recipe.form("quick"), recipe.form("paper")):
        for arm, spec in form.arms.items():
            assert resolve_parts(spec).spec.algorithm in ("hsic_bottleneck", "backprop"), arm
