"""For whom must a layer wait? Withhold the others, and see whether it still makes the same update.

    forward    all layers below are withheld
    update     all layers above are withheld: their weights are noise, and so is all that is computed with them
    backward   all layers run forwards, but nothing that has come down through another layer is let on: only what an
               activation above sends to the layer itself, in one product, arrives

in one step, the first and the last in which the layer moves, after steps without intervention. What others do to a
feedback path or a synthesizer in this step is not waited for in this step, and does not count. Where an epoch takes
several kinds of passes, an update may wait for what another pass has made (a code, say): then all passes that lead up
to the step are withheld as well.
"""

from collections.abc import Callable

from trainers.algorithms.base import Property
from trainers.interventions.results import Result, judged, untested
from trainers.interventions.trials import Trials
from trainers.interventions.watches import WithheldLayers, WithheldMessages
from trainers.interventions.wording import layers_text

ONE_LAYER = "The network has no hidden layer."
NONE_MOVES = "No hidden layer is ever updated, so none waits."

Begins = Callable[[int], int]


def forward_locking(trials: Trials, declared: Property) -> Result:
    name = "forward_locking"
    if not trials.hidden:
        return untested(name, declared.answer, ONE_LAYER)
    candidates = trials.chosen(tuple(layer for layer in trials.layers[1:] if layer in trials.moving))
    if not candidates:
        return untested(name, declared.answer, f"No layer above the first moved in {len(trials.moments)} steps.")

    def waits(layer: str, begins: Begins) -> bool:
        below = trials.layers[: trials.layers.index(layer)]
        return trials.changed_without(layer, below, lambda: WithheldLayers(trials.seed, frozenset(below)), begins)

    return _locking(trials, name, declared, candidates, waits, "With all layers below it withheld")


def update_locking(trials: Trials, declared: Property) -> Result:
    name = "update_locking"
    if not trials.hidden:
        return untested(name, declared.answer, ONE_LAYER)
    if trials.never_moving:
        return judged(name, declared.answer, found=False, evidence=NONE_MOVES)
    candidates = trials.chosen(trials.moving_hidden)
    if not candidates:
        return untested(name, declared.answer, trials.nothing_moved)

    def waits(layer: str, begins: Begins) -> bool:
        above = trials.above(layer)
        return trials.changed_without(layer, above, lambda: WithheldLayers(trials.seed, frozenset(above)), begins)

    return _locking(trials, name, declared, candidates, waits, "With all layers above it withheld")


def backward_locking(trials: Trials, declared: Property, update: Result) -> Result:
    """`update`: what was found for update_locking; a layer that waits for nothing above waits for no way back."""
    name = "backward_locking"
    if update.verdict == "untested":
        return untested(name, declared.answer, update.evidence)
    if not update.layers:
        return judged(name, declared.answer, found=False, evidence=update.evidence)
    candidates = tuple(layer for layer in update.layers if layer in trials.hidden[:-1])
    if not candidates:
        return untested(
            name,
            declared.answer,
            "It takes a second hidden layer above to tell waiting for its way back from waiting for the outputs.",
        )

    def waits(layer: str, begins: Begins) -> bool:
        above = frozenset(trials.above(layer))
        return bool(
            trials.changed_at_once(
                lambda: WithheldMessages(trials.seed, layer, above, trials.sample_sizes), (layer,), begins=begins
            )
        )

    done = "With all layers run, and noise in place of what came down through another layer"
    return _locking(trials, name, declared, candidates, waits, done)


def layer_parallel(trials: Trials, declared: Property, update: Result) -> Result:
    """An ability, so it is found where no layer waits for another above it; follows from the test of that."""
    name = "layer_parallel"
    if update.verdict == "untested":
        return untested(name, declared.answer, update.evidence)
    if declared.answer == "partly":
        return untested(name, declared.answer, "Withholding layers does not tell which part of an update could go on.")
    if len(trials.moving) < 2:
        return untested(
            name, declared.answer, "Fewer than two layers are updated, so nothing could go on side by side."
        )
    waits = update.layers
    if waits:
        says = f"{layers_text(waits, trials.layers)} cannot update before those above have run."
    else:
        says = f"{layers_text(trials.moving_hidden, trials.layers)} update without anything from above."
    return judged(name, declared.answer, found=not waits, evidence=says, layers=waits)


def _locking(
    trials: Trials,
    name: str,
    declared: Property,
    candidates: tuple[str, ...],
    waits: Callable[[str, Begins], bool],
    done: str,
) -> Result:
    found = tuple(layer for layer in candidates if waits(layer, lambda step: step))
    when = "the update"
    if not found and len(trials.phases) > 1:
        found = tuple(layer for layer in candidates if waits(layer, trials.opening))
        when = "the update in the same step was the same, but with the passes before it so too, that"
    others = [layer for layer in candidates if layer not in found]
    if not found:
        says = f"{done}, each of {layers_text(candidates, trials.layers)} made the same update, to the bit."
    elif not others:
        says = f"{done}, {when} of {layers_text(found, trials.layers)} was another."
    else:
        says = (
            f"{done}, {when} of {layers_text(found, trials.layers)} was another, and that of "
            f"{layers_text(others, trials.layers)} the same."
        )
    return judged(name, declared.answer, found=bool(found), evidence=says, layers=found)
