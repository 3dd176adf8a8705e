"""Events: one JSON line each, and back."""

import json

import pytest
from pydantic import ValidationError

from trainers import events

POINT = {"step": 10, "epoch": 1, "passes": 1, "samples": 1000, "seconds": 0.5}
EXAMPLES = [
    events.Ready(pid=1),
    events.Metrics(**POINT, values={"train_loss": 0.5}),
    events.Progress(fraction=0.5, epoch=1, epochs=2, step=1, steps=2, eta_seconds=None, samples_per_second=3.0),
    events.CheckpointSaved(**POINT, path="c", kinds=["last", "best"], bytes=1, sha256="0", metrics={}),
    events.Failed(code="diverged", sentence="The run diverged.", detail={"step": 3}),
    events.Stopped(step=3, sentence="Stopped."),
    events.Succeeded(result={"test_accuracy": 0.9}),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)
def test_an_event_survives_its_line(event: events.Event) -> None:
    line = event.to_line()
    assert "\n" not in line
    assert events.parse_event(line) == event


def test_a_value_that_is_not_finite_travels_as_null() -> None:
    line = events.Metrics(**POINT, values={"train_loss": float("nan"), "x": float("inf")}).to_line()
    assert json.loads(line)["values"] == {"train_loss": None, "x": None}


@pytest.mark.parametrize("line", ["", "text", "{}", '{"event": "unheard"}', '{"event": "ready", "pid": 1, "more": 2}'])
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        events.parse_event(line)


def test_the_contracts_do_not_load_torch() -> None:
    import subprocess
    import sys

    code = "import trainers.spec, trainers.events, trainers.errors, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
