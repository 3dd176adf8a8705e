"""One run's diagnosis: looks before and after a diagnosed step, tells what it saw, remembers what the result shows."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.algorithms.backprop import Backprop
from trainers.algorithms.base import Batch, Moment, StepReport
from trainers.assembly import Parts
from trainers.diagnostics import layers
from trainers.diagnostics.angle import Gradients, backprop_gradients, cosines, random_cosines
from trainers.diagnostics.dependence import dependences
from trainers.diagnostics.looking import weights_by_layer
from trainers.diagnostics.verdicts import CURES, Verdict, suspected_dead, verdicts

QUANTITIES = (
    "signal_norm",
    "signal_through_time",
    "update_ratio",
    "dead_share",
    "saturated_share",
    "activation_mean",
    "activation_std",
    "angle_cosine",
    "angle_null",
    "nhsic_input",
    "nhsic_label",
)


@dataclass(frozen=True, slots=True)
class Before:
    """What must be seen before the step moves the weights."""

    weights: dict[str, dict[str, Tensor]]
    activity: layers.Sums
    gradients: Gradients
    null: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Seen:
    """A diagnosed step: rows bottom to top, what they say, and what of that the user has not been told yet."""

    rows: list[dict[str, Any]]
    verdict: str | None
    news: list[Verdict]


class Diagnosis:
    """Of one run. Nothing here touches weights, statistics, generators or the training batches' buffers."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.count = 0
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.findings: list[dict[str, Any]] = []
        self._looked_in_epoch = -1

    def before(self, batch: Batch, *, step: int) -> Before:
        """Called with the batch that step number `step` is about to train on."""
        network, algorithm = self.parts.network, self.parts.algorithm
        weights = weights_by_layer(network)
        # Recurrent algorithms may show the state that they carry from chunk to chunk; others look from zeros.
        carried = tuple(getattr(algorithm, "carried", ()))
        gradients: Gradients = {}
        null: dict[str, Tensor] = {}
        if not isinstance(algorithm, Backprop):  # its own direction is the one that others are held against
            seen = algorithm.as_seen(batch) if hasattr(algorithm, "as_seen") else batch
            gradients = backprop_gradients(network, self.parts.objective, seen, carried)
            null = random_cosines(network, gradients, seen, seed=self.parts.spec.training.seed or 0, step=step)
        return Before(
            {
                layer: {name: weight.detach().clone() for name, weight in each.items()}
                for layer, each in weights.items()
            },
            {**layers.activity(network, batch, carried), **dependences(network, self.parts.objective, batch)},
            gradients,
            null,
        )

    def after(self, before: Before, report: StepReport, moment: Moment, *, step: int) -> Seen:
        """Called when step number `step` is done."""
        rows = self._rows(before, report)
        found = verdicts(rows)
        told = {finding["code"] for finding in self.findings}
        if any(each.code == "dead" for each in found) and "dead" not in told and moment.epoch != self._looked_in_epoch:
            self._looked_in_epoch = moment.epoch  # a pass over the evaluation set is paid once an epoch at most
            found = verdicts(rows, dead=self.dead_on_evaluation_set(rows))
        news = []
        for each in found:
            if each.code != "healthy" and each.code not in told and not _only_on_batch(each):
                cures = {**CURES, **getattr(self.parts.algorithm, "cures", {})}
                sentence = f"{_capital(each.sentence)} in epoch {moment.epoch + 1}. {cures[each.code]}"
                self.findings.append({"code": each.code, "sentence": sentence, "step": step})
                news.append(Verdict(each.code, sentence))
        verdict = "; ".join(each.sentence for each in found) or None
        table = {"step": step, "epoch": moment.epoch + 1, "phase": moment.phase, "verdict": verdict, "layers": rows}
        self.count += 1
        # A pass that sends no signals (of inverses, say) must not hide one that did.
        if self.first is None or (report.signals and not _has_signals(self.first)):
            self.first = table
        if self.last is None or report.signals or not _has_signals(self.last):
            self.last = table
        return Seen(rows, verdict, news)

    def dead_on_evaluation_set(self, rows: list[dict[str, Any]]) -> dict[str, float]:
        """The suspected layers' shares of units that output 0 on the whole validation split."""
        suspected = suspected_dead(rows)
        shares = layers.dead_shares(self.parts.network, self.parts.data.evaluation_batches("validation"))
        return {layer: share for layer, share in shares.items() if layer in suspected}

    def summary(self) -> dict[str, Any] | None:
        """For the result; None where no step was diagnosed."""
        if self.last is None:
            return None
        rows = self.last["layers"]
        dead = self.dead_on_evaluation_set(rows) if suspected_dead(rows) else None
        found = verdicts(rows, dead=dead)
        return {
            "verdict": "; ".join(each.sentence for each in found) or None,
            "codes": [each.code for each in found],
            "diagnosed_steps": self.count,
            "first": self.first,
            "last": self.last,
            "findings": self.findings,
        }

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, as JSON text: a resumed run tells nothing twice and ends with the same summary."""
        seen = {"count": self.count, "first": self.first, "last": self.last, "findings": self.findings}
        return {"seen": json.dumps(seen), "looked_in_epoch": self._looked_in_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "seen" in state:
            seen = json.loads(state["seen"])
            self.count, self.findings = seen["count"], seen["findings"]
            self.first, self.last = seen["first"], seen["last"]
            self._looked_in_epoch = state["looked_in_epoch"]

    def _rows(self, before: Before, report: StepReport) -> list[dict[str, Any]]:
        network = self.parts.network
        now = weights_by_layer(network)
        sums = {**before.activity, **layers.signal_norms(report, network), **layers.update_ratios(before.weights, now)}
        if before.gradients:
            changes = _changes(before, now, report)
            for layer, cosine in cosines(before.gradients, report.directions or {}, changes).items():
                sums[layer, "angle_cosine"], sums[layer, "angle_null"] = cosine, before.null[layer]
        details = {
            (layer, f"details/{quantity}"): value
            for quantity, by_layer in (report.details or {}).items()
            for layer, value in by_layer.items()
        }
        values = layers.read({**sums, **details})
        return [
            {"layer": layer.name}
            | {name: _finite(values.get((layer.name, name))) for name in QUANTITIES}
            | {
                "details": {
                    name.removeprefix("details/"): _finite(value)
                    for (owner, name), value in values.items()
                    if owner == layer.name and name.startswith("details/")
                }
            }
            for layer in network.layers
        ]


@torch.no_grad()
def _changes(
    before: Before, now: Mapping[str, Mapping[str, Tensor]], report: StepReport
) -> dict[str, dict[str, Tensor]]:
    """The step's change of the weights that an angle is asked for and no direction was reported for."""
    reported = report.directions or {}
    return {
        layer: {name: now[layer][name].detach() - weight for name, weight in before.weights[layer].items()}
        for layer in before.gradients
        if not any(name in reported for name in before.weights[layer])
    }


def _has_signals(table: Mapping[str, Any]) -> bool:
    return any(row["signal_norm"] is not None for row in table["layers"])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _only_on_batch(verdict: Verdict) -> bool:
    """A batch is no proof of death; the user is told after a look at the evaluation set."""
    return verdict.code == "dead" and verdict.sentence.endswith("batch")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
