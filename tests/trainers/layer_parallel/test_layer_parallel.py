"""Layers in several processes: the same numbers as in one, stops and resumes, and a clean end when one is lost."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import fit
from trainers.errors import SpecError
from trainers.events import Event, Metrics
from trainers.layer_parallel import launch
from trainers.layer_parallel.group import shares
from trainers.layer_parallel.launch import Neighbour, ProcessLost
from trainers.loop import StopRequest
from trainers.resolve import resolve_parts

VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "deep synthesizers, random updates": (
        {"synthesizer_layers": 1, "synthesizer_width": 12, "conditioned": False, "update_probability": 0.5},
        2,
    ),
    "full unlock": ({"unlock": "full", "schedule": "cosine"}, 3),
}


def spec_of(*, processes: int = 1, training: dict[str, Any] | None = None, **hyperparameters: Any) -> dict[str, Any]:
    usual = {"epochs": 2, "batch_size": 200, "seed": 3, "threads": 1, "device": "cpu"}
    return {
        "algorithm": "synthetic_gradients",
        "hyperparameters": hyperparameters,
        "dataset": "digits",
        "network": {"kind": "mlp", "hidden": [20, 16, 12], "batch_norm": True},
        "training": usual | {"processes": processes} | (training or {}),
    }


def metrics_of(events: list[Event]) -> list[dict[str, float | None]]:
    return [event.values for event in events if isinstance(event, Metrics)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Neighbour]:
    """The other processes of a run, as they are started."""
    others: list[Neighbour] = []

    class Noted(Neighbour):
        def __init__(self, rank: int, plan: dict[str, Any]) -> None:
            super().__init__(rank, plan)
            others.append(self)

    monkeypatch.setattr(launch, "Neighbour", Noted)
    return others


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_numbers_are_those_of_one_process(variant: str) -> None:
    hyperparameters, processes = VARIANTS[variant]
    alone: list[Event] = []
    together: list[Event] = []
    one = fit(spec_of(**hyperparameters), on_event=alone.append)
    several = fit(spec_of(processes=processes, **hyperparameters), on_event=together.append)
    assert one.result is not None
    assert several.result is not None
    assert several.result["weights_sha256"] == one.result["weights_sha256"]
    for ours, theirs in zip(metrics_of(together), metrics_of(alone), strict=True):
        # Losses of synthesizers are added up in another order.
        assert ours.pop("train_synthesizer_loss") == pytest.approx(theirs.pop("train_synthesizer_loss"))
        assert ours == theirs


def test_a_run_stopped_in_two_processes_goes_on_in_two_or_in_one(tmp_path: Path) -> None:
    two, one = (spec_of(processes=processes, update_probability=0.7) for processes in (2, 1))
    whole = fit(one)
    part = fit(two, output=tmp_path / "part", stop=StopRequest(after_steps=6))
    assert part.result is None
    assert part.step == 6
    assert whole.result is not None
    for spec in (one, two):
        rest = fit(spec, resume=part.checkpoint)
        assert rest.spec.training.processes == spec["training"]["processes"]
        assert rest.result is not None
        assert rest.result["weights_sha256"] == whole.result["weights_sha256"]
        assert rest.result["train_loss"] == whole.result["train_loss"]


def test_threads_are_shared_out_and_recorded_whole() -> None:
    spec = resolve_parts(spec_of(processes=2, training={"threads": 5})).spec
    plan = {"spec": spec.model_dump(mode="json"), "threads": 2, "data_dir": None}
    parts = launch.assemble_share(plan)
    assert torch.get_num_threads() == 2
    assert parts.spec.training.threads == 5


def test_a_killed_process_ends_the_run_with_a_sentence(started: list[Neighbour]) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Metrics):
            started[0].process.kill()

    with pytest.raises(ProcessLost, match=r"Process 2 of 2, which trains some of the layers, was lost: signal 9\."):
        fit(spec_of(processes=2, training={"epochs": 1000}), on_event=kill)
    assert started[0].process.poll() is not None


def test_a_process_that_fails_before_it_meets_the_others_ends_the_run(
    started: list[Neighbour], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own sentence is passed on, and nobody waits for it."""
    broken = tmp_path / "trainers" / "layer_parallel"
    broken.mkdir(parents=True)
    (broken.parent / "__init__.py").touch()
    (broken / "__init__.py").touch()
    (broken / "__main__.py").write_text("raise SystemExit('there is no such device')")
    monkeypatch.setattr(launch, "_importable", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProcessLost, match="there is no such device"):
        fit(spec_of(processes=3))
    assert all(other.process.poll() is not None for other in started)


def test_no_process_outlives_a_killed_trainer(tmp_path: Path) -> None:
    program = tmp_path / "trainer.py"
    program.write_text(
        "import json, sys\n"
        "from trainers import fit\n"
        "from trainers.events import Metrics\n"
        "from trainers.layer_parallel import launch\n"
        "kind, numbers = launch.Neighbour, []\n"
        "class Noted(kind):\n"
        "    def __init__(self, rank, plan):\n"
        "        super().__init__(rank, plan)\n"
        "        numbers.append(self.process.pid)\n"
        "launch.Neighbour = Noted\n"
        "def tell(event):\n"
        "    if isinstance(event, Metrics):\n"
        "        print(json.dumps(numbers), flush=True)\n"
        "fit(json.loads(sys.argv[1]), on_event=tell)\n"
    )
    spec = spec_of(processes=3, training={"epochs": 100_000})
    trainer = subprocess.Popen(
        [sys.executable, str(program), json.dumps(spec)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": launch._importable()},
    )
    assert trainer.stdout is not None
    numbers = json.loads(trainer.stdout.readline())
    ends = [os.pidfd_open(number) for number in numbers]

    trainer.send_signal(signal.SIGKILL)

    trainer.communicate()
    for end in ends:
        assert select_readable(end, seconds=20), "a module process outlives its trainer"
        os.close(end)


def select_readable(end: int, *, seconds: float) -> bool:
    """A pidfd is readable once its process has ended."""
    return bool(select.select([end], [], [], seconds)[0])


@pytest.mark.parametrize(
    ("changes", "pointer", "sentence"),
    [
        ({"training": {"processes": 5}}, "#/training/processes", "4 processes at most"),
        ({"algorithm": "backprop", "hyperparameters": {}}, "#/training/processes", "backprop can share this mlp out"),
        ({"dataset": "repeat_copy", "network": {"kind": "recurrent"}}, "#/training/processes", "no second process"),
        ({"hyperparameters": {"interfaces": []}}, "#/training/processes", "set it to 1"),
        ({"training": {"device": "cuda"}}, "#/training/device", "train on the CPU"),
        ({"training": {"precision": "bfloat16"}}, "#/training/precision", "float32 or float64"),
        ({"training": {"processes": 0}}, "#/training/processes", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_field(changes: dict[str, Any], pointer: str, sentence: str) -> None:
    spec = spec_of(processes=2)
    training = spec["training"] | changes.pop("training", {})
    if changes.get("dataset") == "repeat_copy":
        training |= {"steps_per_epoch": 3}
    with pytest.raises(SpecError, match=sentence) as refusal:
        resolve_parts(spec | changes | {"training": training})
    assert refusal.value.errors[0].pointer == pointer


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
