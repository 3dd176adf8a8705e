"""The intervention tests of a run that asked for them (`training.interventions`), made when it has succeeded.

They are made on fresh copies that share nothing with the run, and after its clock and its meters have been read, so a
run with them ends with the weights, scores and costs of one without. A run that fails or stops pays nothing.
"""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainers.events import Event, Succeeded
from trainers.interventions.intervene import intervene_on
from trainers.resolve import Resolved

if TYPE_CHECKING:
    from trainers.loop import OnEvent, Outcome


class InterventionsOfARun:
    """`tell` stands between the run and whoever listens; `added_to` completes what `fit` returns."""

    def __init__(self, resolved: Resolved, on_event: "OnEvent") -> None:
        self.resolved, self.on_event = resolved, on_event

    @cached_property
    def found(self) -> dict[str, Any]:
        """What the result carries besides: `interventions`, one entry a property, and `locality`."""
        if not self.resolved.spec.training.interventions:
            return {}
        report = intervene_on(self.resolved).to_json()
        return {name: report[name] for name in ("interventions", "locality")}

    def tell(self, event: Event) -> None:
        if isinstance(event, Succeeded):
            event = event.model_copy(update={"result": {**event.result, **self.found}})
        self.on_event(event)

    def added_to(self, outcome: "Outcome") -> "Outcome":
        if outcome.result is None:
            return outcome
        return replace(outcome, result={**outcome.result, **self.found})
