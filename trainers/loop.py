"""The loop: the same for every algorithm.

A run is a list of passes over the data, known beforehand: [(epoch, phase), …]. A position is (pass, step), and that is
all a resume needs of the loop. Events tell what happens; checkpoints hold all that the rest of the run depends on.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers import checkpoint as checkpoints
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.assembly import Parts
from trainers.compute_cost.meter import CostMeter
from trainers.datasets.declaration import Split
from trainers.device import computing, machine
from trainers.diagnostics.diagnosis import Before, Diagnosis
from trainers.evaluation import confusion, evaluate
from trainers.events import (
    CheckpointSaved,
    Diagnostics,
    Event,
    Finding,
    Metrics,
    Progress,
    Started,
    Stopped,
    Succeeded,
)
from trainers.losses import LossTrace, NonFiniteLoss, first_non_finite
from trainers.meters import Meters
from trainers.scores import Scores
from trainers.spec import TrainingSpec

OnEvent = Callable[[Event], None]
PROGRESS_SECONDS = 1.0


@dataclass(slots=True)
class StopRequest:
    """Set `requested` (from a signal handler, say) and the run saves and stops at the next batch border."""

    requested: bool = False
    after_steps: int | None = None
    """Stop by itself once this many steps of the whole run are done."""

    def due(self, done: int) -> bool:
        return self.requested or (self.after_steps is not None and done >= self.after_steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How `fit` ended: `result` is None when it stopped because it was asked to."""

    spec: TrainingSpec
    result: dict[str, Any] | None
    step: int
    checkpoint: Path | None
    parts: Parts


@dataclass(slots=True)
class Clock:
    """Where wall seconds went, over all attempts."""

    seconds: dict[str, float] = field(
        default_factory=lambda: {"training": 0.0, "data": 0.0, "evaluation": 0.0, "checkpoint": 0.0, "diagnostics": 0.0}
    )
    _since: float = field(default_factory=time.perf_counter)

    def spend(self, on: str) -> None:
        """All time since the last call went to `on`."""
        now = time.perf_counter()
        self.seconds[on] += now - self._since
        self._since = now


class Run:
    """One run in progress: parts, position, and what has been measured so far."""

    def __init__(
        self, parts: Parts, *, on_event: OnEvent, output: Path | None = None, stop: StopRequest | None = None
    ) -> None:
        self.parts, self.on_event, self.output, self.stop = parts, on_event, output, stop or StopRequest()
        self.training = parts.spec.training
        epochs = self.training.epochs
        self.plan = [(epoch, phase) for epoch in range(epochs) for phase in parts.algorithm.phases(epoch, epochs)]
        self.steps = parts.data.steps_per_pass
        self.number, self.first = 0, 0  # the position: pass, and step within it
        self.done, self.samples = 0, 0
        self.meters = Meters()
        self.scores = Scores(self.training)
        self.clock = Clock()
        self.losses = LossTrace(parts.device)
        self.diagnosis = Diagnosis(parts)
        self.cost = CostMeter.start(parts.device)
        self.latest: dict[str, float] = {}
        self.last_checkpoint: Path | None = None
        self._told_at, self._told_done = time.perf_counter(), 0

    # -- the story ----------------------------------------------------------------------------------------------------

    def go(self) -> Outcome:
        self.announce()
        for number in range(self.number, len(self.plan)):
            epoch, phase = self.plan[number]
            first = self.first if number == self.number else 0
            for step, batch in self.batches(epoch, first):
                moment = self.moment(number, step)
                report = self.step(batch, moment)
                self.meters.add(phase, report)  # stays on the device: no .item() within a pass
                self.parts.data.observe(report)  # a curriculum looks at this; most data do not
                if self.evaluates_now():
                    self.evaluate_within(epoch, number)
                if self.stop.due(self.done):
                    return self.stopped(number, step + 1)
                self.tell_progress(epoch)
            if self.ends_epoch(number):
                self.finish_epoch(epoch, number)
                if self.scores.should_stop:
                    break
        return self.succeeded()

    def step(self, batch: Batch, moment: Moment) -> StepReport:
        before = self.look_before(batch) if moment.diagnose else None
        with computing(self.training.precision, self.parts.device):
            report = self.parts.algorithm.step(batch, moment)
        self.done += 1
        self.samples += batch.inputs.shape[0]
        self.losses.add(self.done, report)
        if moment.diagnose or self.losses.full:
            self.check_finite()
        self.clock.spend("training")
        self.cost.step_done(self.samples, self.clock.seconds)
        if before is not None:
            self.diagnose(before, report, moment)
        return report

    def finish_epoch(self, epoch: int, number: int) -> None:
        self.check_finite()
        self.clock.spend("training")
        values = self.meters.read() | self.evaluate("validation") | self.evaluate("test")
        values |= self.parts.data.measurements()
        self.meters.clear()
        self.latest = values
        self.clock.spend("evaluation")
        self.on_event(Metrics(**self.point(epoch + 1, number + 1), values=values))
        last_of_run = number + 1 == len(self.plan)
        self.scores.add(values, epoch=epoch + 1, step=self.done, seconds=self.clock.seconds["training"])
        if last_of_run or self.scores.should_stop or (epoch + 1) % self.training.checkpoint_every_epochs == 0:
            best = self.scores.is_best_now(values, epoch=epoch + 1, step=self.done)
            self.save(number + 1, 0, ["last", "best"] if best else ["last"])

    def succeeded(self) -> Outcome:
        result = self.result()
        self.draw()
        self.on_event(Succeeded(result=result))
        return Outcome(self.parts.spec, result, self.done, self.last_checkpoint, self.parts)

    def draw(self) -> None:
        """Pictures, of algorithms that make some (an `artefacts` method), from a batch of the validation split."""
        make = getattr(self.parts.algorithm, "artefacts", None)
        if self.output is not None and make is not None:
            batch = next(iter(self.parts.data.evaluation_batches("validation")))
            for artefact in make(batch, self.output / "artefacts"):
                self.on_event(artefact)

    def stopped(self, number: int, step: int) -> Outcome:
        self.check_finite()
        self.save(number, step, ["last"])
        sentence = f"Stopped at step {self.done} of {len(self.plan) * self.steps}; resuming goes on from there."
        self.on_event(Stopped(step=self.done, sentence=sentence))
        return Outcome(self.parts.spec, None, self.done, self.last_checkpoint, self.parts)

    # -- its parts ----------------------------------------------------------------------------------------------------

    def batches(self, epoch: int, first: int) -> Iterator[tuple[int, Batch]]:
        """The pass's batches from step `first` on, the waiting for them clocked."""
        self.clock.spend("training")
        for step, batch in enumerate(self.parts.data.batches(epoch, first), first):
            self.clock.spend("data")
            yield step, batch

    def moment(self, number: int, step: int) -> Moment:
        epoch, phase = self.plan[number]
        every = self.training.diagnose_every_steps
        return Moment(
            epoch,
            phase,
            step,
            self.steps,
            progress=(number * self.steps + step) / (len(self.plan) * self.steps),
            diagnose=every is not None and self.done % every == 0,
        )

    def ends_epoch(self, number: int) -> bool:
        return number + 1 == len(self.plan) or self.plan[number + 1][0] != self.plan[number][0]

    def evaluates_now(self) -> bool:
        every, until = self.training.evaluate_every_steps, self.training.evaluate_first_steps
        return every is not None and self.done % every == 0 and (until is None or self.done <= until)

    def evaluate_within(self, epoch: int, number: int) -> None:
        values = self.evaluate("validation") | self.evaluate("test")
        self.clock.spend("evaluation")
        if values:
            self.scores.see(values, epoch=epoch, step=self.done, seconds=self.clock.seconds["training"])
            self.on_event(Metrics(**self.point(epoch, number), values=values))

    def evaluate(self, split: Split) -> dict[str, float]:
        with computing(self.training.precision, self.parts.device):
            values = evaluate(self.parts.algorithm, self.parts.data, self.parts.objective, split)
        bad = first_non_finite(values)
        if bad is not None:
            raise NonFiniteLoss(self.done, self.last_checkpoint, bad)
        return values

    def check_finite(self) -> None:
        """Raises NonFiniteLoss; a look at the device, so only now and then."""
        step = self.losses.first_non_finite()
        if step is not None:
            raise NonFiniteLoss(step, self.last_checkpoint)

    def look_before(self, batch: Batch) -> Before:
        self.clock.spend("training")
        with computing(self.training.precision, self.parts.device):
            before = self.diagnosis.before(batch, step=self.done + 1)
        self.clock.spend("diagnostics")
        return before

    def diagnose(self, before: Before, report: StepReport, moment: Moment) -> None:
        with computing(self.training.precision, self.parts.device):
            seen = self.diagnosis.after(before, report, moment, step=self.done)
        at = self.point(moment.epoch, self.done // self.steps)
        self.on_event(Diagnostics(**at, layers=seen.rows, verdict=seen.verdict))
        for news in seen.news:
            self.on_event(Finding(code=news.code, sentence=news.sentence, step=self.done))
        self.clock.spend("diagnostics")

    def point(self, epoch: int, passes: int) -> dict[str, Any]:
        """Where a measured value stands."""
        return {
            "step": self.done,
            "epoch": epoch,
            "passes": passes,
            "samples": self.samples,
            "seconds": self.clock.seconds["training"] + self.clock.seconds["data"],
        }

    # -- telling ------------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        parts = self.parts
        self.on_event(
            Started(
                spec=parts.spec.model_dump(mode="json"),
                machine=machine(parts.device),
                dataset=parts.dataset.describe(),
                parameters=sum(weight.numel() for weight in parts.network.parameters()),
                steps=len(self.plan) * self.steps,
                resumed_at=self.done,
            )
        )

    def tell_progress(self, epoch: int) -> None:
        now = time.perf_counter()
        waited = now - self._told_at
        if waited < PROGRESS_SECONDS:
            return
        self.cost.energy.look()
        total = len(self.plan) * self.steps
        rate = (self.done - self._told_done) / waited
        self._told_at, self._told_done = now, self.done
        self.on_event(
            Progress(
                fraction=self.done / total,
                epoch=epoch,
                epochs=self.training.epochs,
                step=self.done,
                steps=total,
                eta_seconds=(total - self.done) / rate if rate else None,
                samples_per_second=rate * self.training.batch_size,
            )
        )

    def result(self) -> dict[str, Any]:
        """What the finished run measured; scores at the top level are those of the final weights."""
        self.clock.spend("training")
        with computing(self.training.precision, self.parts.device):
            table = confusion(self.parts.algorithm, self.parts.data, self.parts.objective, "test")
        self.clock.spend("evaluation")
        diagnostics = self.diagnosis.summary()
        self.clock.spend("diagnostics")
        seconds = dict(self.clock.seconds)
        passes = [phase for _, phase in self.plan[: self.number_of_passes_done()]]
        epochs = self.plan[len(passes) - 1][0] + 1
        cost = self.cost.report(self.parts.spec, passes, epochs=epochs, samples=self.samples, clock=seconds)
        return {
            **self.latest,
            **table,
            **self.scores.summary(),
            "diagnostics": diagnostics,
            "compute_cost": cost,
            "epochs": epochs,
            "passes": len(passes),
            "steps": self.done,
            "samples": self.samples,
            "seconds": seconds,
            "samples_per_second": cost["samples_per_second"],
            "parameters": sum(weight.numel() for weight in self.parts.network.parameters()),
            "weights_sha256": checkpoints.weights_sha256(dict(self.parts.network.state_dict())),
            "dataset": self.parts.dataset.describe(),
            "machine": machine(self.parts.device),
        }

    def number_of_passes_done(self) -> int:
        return max(1, self.done // self.steps)

    # -- saving and restoring -----------------------------------------------------------------------------------------

    def save(self, number: int, step: int, kinds: list[Any]) -> None:
        """Write everything that the rest of the run depends on; the position is (number, step)."""
        if self.output is None:
            return
        state = {
            "algorithm": self.parts.algorithm.state_dict(),
            "data": self.parts.data.state_dict(),
            "meters": self.meters.state_dict(),
            "scores": self.scores.state_dict(),
            "diagnostics": self.diagnosis.state_dict(),
            "cost": self.cost.state_dict(),
            "latest": dict(self.latest),
            "clock": dict(self.clock.seconds),
            "position": {"pass": number, "step": step, "done": self.done, "samples": self.samples},
        }
        shown = {name: value for name, value in self.latest.items() if isinstance(value, float)}
        header = {
            "spec": self.parts.spec.model_dump(mode="json"),
            "machine": machine(self.parts.device),
            "dataset": self.parts.dataset.describe(),
            "metrics": shown,
            "position": {"pass": number, "step": step, "done": self.done},
        }
        written = checkpoints.save(self.output / f"step-{self.done:09d}.safetensors", state, header)
        self.last_checkpoint = written.path
        self.clock.spend("checkpoint")
        epoch = self.plan[number][0] if number < len(self.plan) else self.training.epochs
        self.on_event(
            CheckpointSaved(
                **self.point(epoch, number),
                path=str(written.path),
                kinds=kinds,
                bytes=written.bytes,
                sha256=written.sha256,
                metrics=shown,
            )
        )

    def restore(self, loaded: checkpoints.Checkpoint) -> None:
        state = loaded.state
        self.parts.algorithm.load_state_dict(state["algorithm"])
        self.parts.data.load_state_dict(state.get("data", {}))
        self.meters.load_state_dict(state["meters"], self.parts.device)
        self.scores.load_state_dict(state["scores"])
        self.diagnosis.load_state_dict(state["diagnostics"])
        self.cost.load_state_dict(state["cost"])
        self.latest = dict(state["latest"])
        self.clock.seconds.update(state["clock"])
        position = state["position"]
        self.number, self.first = position["pass"], position["step"]
        self.done, self.samples = position["done"], position["samples"]
        self._told_done = self.done
