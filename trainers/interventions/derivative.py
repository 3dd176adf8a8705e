"""Does the update go through derivatives of the nonlinearities? Make them those of step units: 0 everywhere.

The forward pass is left alone, so an update that takes no derivative is the same to the bit. Both kinds of derivative
are seen to: torch's own operations (autograd's, or called by hand), and those that networks carry written out. One that
an algorithm writes out for itself, such as 1 − h², is a function of the activation like any other, and is not seen.
"""

from trainers.algorithms.base import Property
from trainers.interventions.results import Result, judged, untested
from trainers.interventions.trials import Trials, zero_derivatives
from trainers.interventions.watches import WithheldDerivatives
from trainers.interventions.wording import layers_text

NAME = "needs_derivative"
WITHOUT = ("identity", "sign", "step")
"""Linear, or of derivative 0 already."""


def needs_derivative(trials: Trials, declared: Property) -> Result:
    layers = trials.watch.network.layers
    names = {getattr(getattr(layer, "activation", None), "name", "a cell's own") for layer in layers[:-1]}
    if names <= set(WITHOUT):
        return untested(NAME, declared.answer, "The hidden units have no derivative to take away.")
    if not trials.moving_hidden and not trials.never_moving:
        return untested(NAME, declared.answer, trials.nothing_moved)
    with zero_derivatives():
        changes = trials.changed_throughout(WithheldDerivatives(trials.seed))
    # Where it began; what others make of it in later steps is no derivative of theirs.
    changed = [layer for layer, step in changes.items() if step == min(changes.values())]
    done = "With all derivatives of nonlinearities 0, as those of step units are, "
    if changed:
        says = f"{done}the update of {layers_text(changed, trials.layers)} was another."
    elif trials.never_moving:
        says = f"{done}no update changed; no hidden layer is ever updated."
    else:
        says = f"{done}no update of any layer changed in {len(trials.moments)} steps, to the bit."
    return judged(
        NAME,
        declared.answer,
        found=bool(changed),
        evidence=says,
        layers=tuple(layer for layer in trials.layers if layer in changed),
    )
