"""Runs specs for the command line: a progress bar on a terminal, JSON lines otherwise; files in the output folder.

events.jsonl   result.json   last.safetensors   best.safetensors
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainers import events
from trainers.diagnostics import format_table
from trainers.errors import TrainerError
from trainers.loop import StopRequest
from trainers.training import fit


def run_all(
    specs: dict[str, dict[str, Any]], output: Path, *, resume: Path | None = None, stop_after_steps: int | None = None
) -> int:
    """Train each spec into a folder of its own below `output` (the only one into `output` itself). An arm that
    fails does not keep the others from running; the exit code is then 1."""
    worst = 0
    with stopping_on_signals(StopRequest(after_steps=stop_after_steps)) as stop:
        for name, spec in specs.items():
            folder = output / name if len(specs) > 1 else output
            if name and sys.stdout.isatty():
                print(f"— {name} —")
            try:
                run_one(spec, folder, stop, resume)
            except TrainerError as error:
                if len(specs) == 1:
                    raise
                print(f"{name}: {error.sentence}", file=sys.stderr)
                worst = 1
            if stop.requested:
                break
    return worst


def run_one(spec: dict[str, Any], folder: Path, stop: StopRequest, resume: Path | None) -> None:
    """One run, told on standard output and in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    teller: Teller = Bar() if sys.stdout.isatty() else Lines(sys.stdout)
    with (folder / "events.jsonl").open("a" if resume is not None else "w", encoding="utf-8") as log, teller:

        def on_event(event: events.Event) -> None:
            if isinstance(event, events.CheckpointSaved):
                event = keep_last_and_best(event, folder)
            if isinstance(event, events.Succeeded):
                (folder / "result.json").write_text(json.dumps(event.result, indent=2) + "\n", encoding="utf-8")
            if not isinstance(event, events.Progress):
                log.write(event.to_line() + "\n")
                log.flush()
            teller.tell(event)

        try:
            fit(spec, on_event=on_event, resume=resume, output=folder, stop=stop)
        except TrainerError as error:
            detail = {name: value for name, value in vars(error).items() if isinstance(value, int | str)}
            on_event(events.Failed(code=error.code, sentence=error.sentence, detail=detail))
            raise


def keep_last_and_best(event: events.CheckpointSaved, folder: Path) -> events.CheckpointSaved:
    """The new file takes the place of last.safetensors, and of best.safetensors when it is the best so far."""
    new, last, best = Path(event.path), folder / "last.safetensors", folder / "best.safetensors"
    if "best" in event.kinds:
        best.unlink(missing_ok=True)
        os.link(new, best)
    new.replace(last)
    return event.model_copy(update={"path": str(last)})


@contextmanager
def stopping_on_signals(stop: StopRequest) -> Iterator[StopRequest]:
    """SIGTERM and Ctrl-C mean: save, then stop. A second Ctrl-C interrupts."""

    def request(number: int, frame: object) -> None:
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Teller:
    """Says what happens while a run goes on; base of the two ways to say it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.latest: events.Diagnostics | None = None

    def show_health(self) -> None:
        """The per-layer table of the last diagnosed step, and its verdict."""
        if self.latest is not None:
            self.console.print(format_table(self.latest.layers))
            if self.latest.verdict:
                self.console.print(self.latest.verdict, highlight=False)

    def __enter__(self) -> "Teller":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def tell(self, event: events.Event) -> None:
        """One event."""
        if isinstance(event, events.Diagnostics):
            self.latest = event


class Lines(Teller):
    """For programs: each event a JSON line; the closing table goes to standard error, beside it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(Console(stderr=True))
        self.stream = stream

    def tell(self, event: events.Event) -> None:
        super().tell(event)
        if isinstance(event, events.Succeeded):
            self.show_health()
        self.stream.write(event.to_line() + "\n")
        self.stream.flush()


class Bar(Teller):
    """For people: a progress bar, a line an epoch, the layer table at the end."""

    def __init__(self) -> None:
        super().__init__(Console())
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def tell(self, event: events.Event) -> None:
        super().tell(event)
        match event:
            case events.Started():
                self.task = self.progress.add_task("", total=event.steps, completed=event.resumed_at, epoch=1, rate="")
            case events.Progress() if self.task is not None:
                rate = f"{event.samples_per_second:,.0f} samples/s"
                self.progress.update(self.task, completed=event.step, epoch=event.epoch + 1, rate=rate)
            case events.Metrics():
                shown = "  ".join(f"{name} {value:.4f}" for name, value in event.values.items() if value is not None)
                self.console.print(f"epoch {event.epoch:>3}  {shown}", highlight=False)
            case events.Finding() | events.Stopped() | events.Failed():
                self.console.print(event.sentence)
            case events.Succeeded():
                self._show_result(event)

    def _show_result(self, event: events.Succeeded) -> None:
        self.show_health()
        scores = {name: value for name, value in event.result.items() if name.startswith("test_")}
        self.console.print(
            "  ".join(f"{name} {value:.4f}" for name, value in scores.items() if isinstance(value, float))
        )
