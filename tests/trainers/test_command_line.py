"""`python -m trainers`, run as people and programs run it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

SPEC = {
    "algorithm": "backprop",
    "dataset": "digits",
    "network": {"kind": "mlp", "hidden": [16]},
    "training": {"epochs": 2, "batch_size": 100, "seed": 1, "threads": 1},
}


def command(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainers", *arguments], capture_output=True, text=True, timeout=120, **keywords
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    done = command("run", json.dumps(SPEC), "--output", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_events_result_and_checkpoints(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "events.jsonl",
        "result.json",
        "last.safetensors",
        "best.safetensors",
    }
    kinds = [json.loads(line)["event"] for line in (finished / "events.jsonl").read_text().splitlines()]
    assert kinds[0] == "started"
    assert kinds[-1] == "succeeded"


def test_evaluating_the_checkpoint_gives_the_result_s_score_exactly(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    scored = json.loads(command("evaluate", str(finished / "last.safetensors")).stdout)
    assert scored["test_accuracy"] == result["test_accuracy"]
    best = json.loads(command("evaluate", str(finished / "best.safetensors"), "--split", "validation").stdout)
    assert best["validation_accuracy"] == result["best"]["validation_accuracy"]


def test_predict_and_export(finished: Path, tmp_path: Path) -> None:
    inputs, outputs, weights = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "w.safetensors"
    np.save(inputs, np.zeros((3, 1, 8, 8), np.float32))
    done = command("predict", str(finished / "last.safetensors"), str(inputs), "--output", str(outputs))
    assert done.returncode == 0, done.stderr
    assert np.load(outputs).shape == (3, 10)
    assert command("export", str(finished / "last.safetensors"), "--output", str(weights)).returncode == 0
    assert load_file(weights)["layer1.weight"].shape == (16, 64)


def test_a_run_stopped_and_resumed_ends_with_the_same_weights(finished: Path, tmp_path: Path) -> None:
    part = command("run", json.dumps(SPEC), "--output", str(tmp_path), "--stop-after-steps", "7")
    assert part.returncode == 0, part.stderr
    assert not (tmp_path / "result.json").exists()
    resumed = command(
        "run", json.dumps(SPEC), "--output", str(tmp_path), "--resume", str(tmp_path / "last.safetensors")
    )
    assert resumed.returncode == 0, resumed.stderr
    whole, rest = (json.loads((folder / "result.json").read_text()) for folder in (finished, tmp_path))
    assert whole["weights_sha256"] == rest["weights_sha256"]


def test_sigterm_means_save_then_stop(tmp_path: Path) -> None:
    spec = SPEC | {"training": SPEC["training"] | {"epochs": 100_000}}  # type: ignore[operator]
    with subprocess.Popen(
        [sys.executable, "-m", "trainers", "run", json.dumps(spec), "--output", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if json.loads(line)["event"] == "metrics":
                os.kill(running.pid, signal.SIGTERM)
                break
        last = [json.loads(line)["event"] for line in running.stdout][-2:]
    assert running.returncode == 0
    assert last == ["checkpoint", "stopped"]
    assert (tmp_path / "last.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "{", "--output", "x"], "not valid JSON"),
        (["run", "/nowhere/spec.json", "--output", "x"], "Cannot read the spec"),
        (["run", "--output", "x"], "either a spec or --recipe"),
        (["run", "--recipe", "vanishin", "--output", "x"], "Did you mean 'vanishing'?"),
        (["validate", '{"algorithm": "backprop", "dataset": "digits", "epochs": 5}'], "#/epochs"),
        (["validate", '{"algorithm": "backprop", "algorithm": "x"}'], "appears twice"),
        (["validate", '{"algorithm": NaN}'], "not a JSON number"),
        (["describe", "mlpp"], "Did you mean 'mlp'?"),
        (["evaluate", "/nowhere.safetensors"], "There is no checkpoint"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_list_and_describe() -> None:
    assert "backprop" in command("list").stdout
    facts = json.loads(command("describe", "backprop").stdout)
    assert facts["hyperparameters"]["properties"]["learning_rate"]["default"] == 0.001


def test_validate_prints_the_whole_spec() -> None:
    whole = json.loads(command("validate", '{"algorithm": "backprop", "dataset": "digits"}').stdout)
    assert isinstance(whole["training"]["seed"], int)
