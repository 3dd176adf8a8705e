"""Does an error go back through the forward weights, and must what it goes through equal them?

The intervention: wherever a product sums over the outputs of a forward weight (or of any copy of it, however old), that
operand is replaced by noise of the same norm. Forward passes are left alone.
"""

from trainers.algorithms.base import Property
from trainers.interventions.results import Result, judged, untested
from trainers.interventions.trials import Trials
from trainers.interventions.watches import ScrambledTransport
from trainers.interventions.wording import layers_text, listed

MOST_NAMED = 4
NO_HIDDEN_LAYER = "The network has no hidden layer that an error could go back to."


def feedback(trials: Trials, transport: Property, symmetric: Property) -> tuple[Result, Result]:
    """weight_transport and symmetric_feedback."""
    if not trials.hidden:
        return (
            untested("weight_transport", transport.answer, NO_HIDDEN_LAYER),
            untested("symmetric_feedback", symmetric.answer, NO_HIDDEN_LAYER),
        )
    passed = [use for use in trials.uses if use.direction == "backward"]
    through = _in_order({use.weight for use in passed}, trials)
    later = trials.changed_throughout(ScrambledTransport(trials.seed))
    at_once = trials.changed_at_once(lambda: ScrambledTransport(trials.seed), trials.layers)
    changed = set(later) | at_once
    unclear = trials.watch.book.unclear
    if not changed and (unclear or not (trials.moving_hidden or trials.never_moving)):
        why = trials.nothing_moved
        if unclear:
            why = f"Weights meet data in {listed(sorted(unclear))}, which does not tell which way round they are used."
        return (
            untested("weight_transport", transport.answer, why),
            untested("symmetric_feedback", symmetric.answer, why),
        )
    first = judged(
        "weight_transport",
        transport.answer,
        found=bool(changed),
        evidence=_transport_evidence(trials, through, later, at_once),
        layers=tuple(layer for layer in trials.layers if layer in (at_once or changed)),
    )
    exact = _in_order({use.weight for use in passed if use.exact}, trials)
    if not changed:
        says = "No update depends on an error that has gone back through forward weights or a copy of them."
    elif exact:
        named = _weights_text(exact, trials)
        says = f"An error goes back through exactly the present values of {named}, and updates depend on it."
    else:
        named = _weights_text(through, trials)
        says = f"An error goes back through a copy of {named} that differs from their present values."
    second = judged(
        "symmetric_feedback",
        symmetric.answer,
        found=bool(changed and exact),
        evidence=says,
        layers=_layers_of(exact, trials) if changed else (),
    )
    return first, second


def _transport_evidence(trials: Trials, through: list[str], later: dict[str, int], at_once: set[str]) -> str:
    steps = len(trials.moments)
    if not through:
        return f"In {steps} steps no error went back through forward weights, or through a copy of them."
    named = _weights_text(through, trials)
    done = f"With noise of the same norm in place of {named} wherever an error goes back through them, "
    if not later and not at_once:
        return f"{done}no update of any layer changed in {steps} steps, to the bit."
    if at_once:
        return f"{done}the update of {layers_text(at_once, trials.layers)} changed in the same step."
    first = min(later.values()) + 1
    return (
        f"{done}no update changed in the same step, but from step {first} on that of "
        f"{layers_text(later, trials.layers)} did."
    )


def _weights_text(weights: list[str], trials: Trials) -> str:
    """A few by name, many by their layers."""
    if len(weights) <= MOST_NAMED:
        return listed(weights)
    return f"the weights of {layers_text(_layers_of(weights, trials), trials.layers)}"


def _in_order(weights: set[str], trials: Trials) -> list[str]:
    return [name for name in trials.watch.book.weights if name in weights]


def _layers_of(weights: list[str], trials: Trials) -> tuple[str, ...]:
    names = {trials.watch.book.layer_of[weight] for weight in weights}
    return tuple(layer for layer in trials.layers if layer in names)
