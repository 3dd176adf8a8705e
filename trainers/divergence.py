"""Where a diverged run went wrong: the first non-finite value, with its layer, found by repeating the steps.

Runs repeat bit for bit, so a run whose loss is no longer finite is run once more from its last checkpoint (or its
start) up to the bad step, and only there is every layer looked at.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from trainers import checkpoint as checkpoints
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.assembly import Parts, assemble
from trainers.datasets.declaration import Split
from trainers.device import computing
from trainers.diagnostics.looking import undisturbed
from trainers.errors import Diverged
from trainers.loop import Run, StopRequest
from trainers.losses import NonFiniteLoss
from trainers.resolve import resolve_parts
from trainers.spec import TrainingSpec


def locate(spec: TrainingSpec, found: NonFiniteLoss, data_dir: Path | None = None) -> Diverged:
    """What was first not finite at, or just before, the step whose loss was not."""
    parts = assemble(resolve_parts(spec), data_dir=data_dir)
    run = _WatchedRun(parts, found.step)
    if found.checkpoint is not None and found.checkpoint.exists():
        run.restore(checkpoints.load(found.checkpoint))
    try:
        run.go()
        run.look_at_evaluated(found.quantity)
    except Diverged as diverged:
        return diverged
    # Every layer's numbers are finite, and their loss is not: outputs so large that a sum over the batch overflows.
    outputs = parts.network.layers[-1].name
    return Diverged(step=found.step, layer=outputs, quantity=f"{found.quantity.replace('_', ' ')} at the outputs")


class _WatchedRun(Run):
    """Repeats a run; near the bad step every layer is looked at, and the first bad value raises Diverged."""

    def __init__(self, parts: Parts, bad_step: int) -> None:
        super().__init__(parts, on_event=lambda event: None, stop=StopRequest(after_steps=bad_step))
        self.bad_step = bad_step

    def step(self, batch: Batch, moment: Moment) -> StepReport:
        if self.done + 2 < self.bad_step:  # the weights may have gone bad by the update before
            return super().step(batch, moment)
        network = self.parts.network
        _look("weights", network.named_parameters(), self.done)
        self._look_ahead(batch)
        moment.diagnose = True
        report = super().step(batch, moment)
        _look("teaching signal", reversed(list((report.signals or {}).items())), self.done)
        _look("weights", network.named_parameters(), self.done)
        return report

    def check_finite(self) -> None:
        """The repeat looks for itself."""

    def evaluate(self, split: Split) -> dict[str, float]:
        return {}

    def look_at_evaluated(self, quantity: str) -> None:
        """Where the bad value is an evaluated one, such as "validation_loss": every layer on that split."""
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            if quantity.startswith(split):
                for batch in self.parts.data.evaluation_batches(split):
                    with self.parts.network.evaluating():
                        _look(f"pre-activations on the {split} split", self._pre_activations(batch), self.done)

    def _look_ahead(self, batch: Batch) -> None:
        """At the batch that the step is about to train on, with nothing that moves."""
        with undisturbed(self.parts.network):
            _look("pre-activations", self._pre_activations(batch), self.done + 1)

    def _pre_activations(self, batch: Batch) -> list[tuple[str, Tensor]]:
        watched: dict[str, list[Tensor]] = {}
        with torch.no_grad(), computing(self.training.precision, self.parts.device):
            self.parts.network(batch.inputs, watched)
        return [(name, a) for name, each in watched.items() for a in each]


def _look(quantity: str, named: Iterable[tuple[str, Tensor]], step: int) -> None:
    for name, value in named:
        if not bool(torch.isfinite(value).all()):
            raise Diverged(step=step, layer=name.split(".")[0], quantity=quantity)
