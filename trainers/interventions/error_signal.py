"""Does the error at the output reach hidden layers? Hide it and give only the label.

An error is what outputs and labels make together. The intervention replaces the outputs, as everything downstream sees
them, by noise, and leaves labels and targets as they are: a loss, its gradient, or an error that an algorithm works out
for itself, all are hidden by it. An algorithm that needs a hidden layer's label only (or the label of the batch, as a
kernel) makes the same update to the bit.
"""

from trainers.algorithms.base import Property
from trainers.interventions.feedback import NO_HIDDEN_LAYER
from trainers.interventions.results import Result, judged, untested
from trainers.interventions.trials import Trials
from trainers.interventions.watches import HiddenOutputs
from trainers.interventions.wording import layers_text


def global_error_signal(trials: Trials, declared: Property) -> Result:
    if not trials.hidden:
        return untested("global_error_signal", declared.answer, NO_HIDDEN_LAYER)
    if not trials.moving_hidden and not trials.never_moving:
        return untested("global_error_signal", declared.answer, trials.nothing_moved)
    hidden = set(trials.hidden)
    later = {
        layer: step for layer, step in trials.changed_throughout(HiddenOutputs(trials.seed)).items() if layer in hidden
    }
    at_once = trials.changed_at_once(lambda: HiddenOutputs(trials.seed), trials.hidden)
    changed = set(later) | at_once
    return judged(
        "global_error_signal",
        declared.answer,
        found=bool(changed),
        evidence=_evidence(trials, later, at_once),
        layers=tuple(layer for layer in trials.hidden if layer in (at_once or changed)),
    )


def _evidence(trials: Trials, later: dict[str, int], at_once: set[str]) -> str:
    done = "With the outputs hidden by noise and the labels left, "
    if trials.never_moving:
        return f"{done}no hidden layer changed: none is ever updated."
    if not later and not at_once:
        return f"{done}every hidden layer made the same updates in {len(trials.moments)} steps, to the bit."
    if at_once:
        return f"{done}the update of {layers_text(at_once, trials.layers)} changed in the same step."
    return (
        f"{done}no hidden layer's update changed in the same step, but from step {min(later.values()) + 1} on that of "
        f"{layers_text(later, trials.layers)} did."
    )
