"""The loop of one process of a layer-parallel run: the same loop, batches and decisions in all of them."""

from pathlib import Path
from typing import Any, Protocol

from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.assembly import Parts
from trainers.layer_parallel.group import LayerGroup
from trainers.loop import OnEvent, Run, StopRequest


class LayerParallelPart(Protocol):
    """An algorithm that runs its own layers only; its other methods are those of any algorithm, and collective."""

    stop_wanted: bool
    """Set on rank 0 before a step: the step is to be the last one."""
    stop_agreed: bool
    """Known on every rank after the step."""

    def step(self, batch: Batch, moment: Moment) -> StepReport: ...

    def state_dict(self) -> dict[str, Any]: ...


class LayerParallelRun(Run):
    """Rank 0 tells and saves; the others take part. A stop is agreed in the step that it ends with, never in between:
    rank 0 decides before the step, and the word goes up with the step's messages. Diagnosed steps look at all layers at
    once, so there are none."""

    def __init__(
        self,
        parts: Parts,
        group: LayerGroup,
        part: LayerParallelPart,
        *,
        on_event: OnEvent,
        output: Path | None,
        stop: StopRequest | None,
        saves: bool,
    ) -> None:
        super().__init__(parts, on_event=on_event, output=output, stop=StopRequest())
        self.group, self.part, self.saves = group, part, saves
        self.asked = stop or StopRequest()

    def moment(self, number: int, step: int) -> Moment:
        moment = super().moment(number, step)
        moment.diagnose = False
        return moment

    def step(self, batch: Batch, moment: Moment) -> StepReport:
        self.part.stop_wanted = self.group.is_first and self.asked.due(self.done + 1)
        report = super().step(batch, moment)
        self.stop.requested = self.part.stop_agreed
        return report

    def save(self, number: int, step: int, kinds: list[Any]) -> None:
        if self.group.is_first:
            super().save(number, step, kinds)
        elif self.saves:
            self.part.state_dict()  # each gives what it owns
