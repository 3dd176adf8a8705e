"""`python -m trainers intervene`, and runs that ask for the tests in their spec."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainers import fit
from trainers.__main__ import main
from trainers.loop import StopRequest

SPEC: dict[str, Any] = {
    "algorithm": "backprop",
    "dataset": "digits",
    "network": {"kind": "mlp", "hidden": [16, 12]},
    "training": {"epochs": 1, "batch_size": 200, "seed": 1, "threads": 1, "device": "cpu"},
}


def test_a_table_shows_every_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["intervene", "hsic_bottleneck"]) == 0
    shown = capsys.readouterr().out
    assert "hsic_bottleneck on mlp, layers of 24, 20, 16 and 10 units" in shown
    assert shown.count("confirmed") == 8
    assert "Within a step, no update is computed from weights of a layer above" in shown


def test_json_is_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    network = json.dumps({"kind": "recurrent", "cell": "tanh", "hidden": 8})
    assert main(["intervene", "backprop", "--network", network, "--seed", "5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["network"] == "recurrent, layers of 8 and 10 units"
    assert {entry["property"]: entry["verdict"] for entry in report["interventions"]}["weight_transport"] == "confirmed"
    assert report["locality"]["reads"]["cell"] == ["readout"]


def test_hyperparameters_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    hyperparameters = json.dumps({"unlock": "full"})
    assert main(["intervene", "synthetic_gradients", "--hyperparameters", hyperparameters, "--json"]) == 0
    entries = {entry["property"]: entry for entry in json.loads(capsys.readouterr().out)["interventions"]}
    assert (entries["forward_locking"]["declared"], entries["forward_locking"]["verdict"]) == ("no", "confirmed")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backpro"], "Did you mean 'backprop'?"),
        (["backprop", "--network", '{"kind": "mpl"}'], "#/network/kind"),
        (["backprop", "--network", "{"], "not valid JSON"),
        (["backprop", "--hyperparameters", '{"learning_rat": 1}'], "#/hyperparameters/learning_rat"),
        (["difference_target_propagation", "--network", '{"kind": "resnet"}'], "Choose mlp"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["intervene", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_resumed_run_may_ask_for_tests_that_the_first_part_did_not(tmp_path: Path) -> None:
    part = fit(SPEC, output=tmp_path / "part", stop=StopRequest(after_steps=3))
    asking = {**SPEC, "training": {**SPEC["training"], "interventions": True}}
    rest = fit(asking, output=tmp_path / "rest", resume=part.checkpoint)
    whole = fit(SPEC)
    assert rest.result is not None
    assert whole.result is not None
    assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
    assert len(rest.result["interventions"]) == 8


def test_a_stopped_run_carries_no_tests() -> None:
    asking = {**SPEC, "training": {**SPEC["training"], "interventions": True}}
    assert fit(asking, stop=StopRequest(after_steps=2)).result is None


def test_layers_in_several_processes_are_tested_too() -> None:
    spec = {**SPEC, "algorithm": "synthetic_gradients"}
    spec["training"] = {**SPEC["training"], "interventions": True, "processes": 2}
    outcome = fit(spec)
    assert outcome.result is not None
    assert [entry["verdict"] for entry in outcome.result["interventions"]] == ["confirmed"] * 8
