"""What is counted beside the declared properties: which layers' weights an update reads, and the passes it takes."""

from dataclasses import replace

from trainers.algorithms.base import Algorithm
from trainers.interventions.reads import ReadsLog
from trainers.interventions.results import Locality
from trainers.interventions.trials import Trials
from trainers.interventions.wording import layers_text, listed


def locality(trials: Trials) -> Locality:
    """From all steps of one trial without intervention."""
    log = ReadsLog(trials.seed)
    trials.run(log, active=lambda step: True)
    order = trials.layers
    reads = {
        layer: tuple(each for each in order if each in log.reads.get(layer, set()))
        for layer in order
        if layer in trials.moving
    }
    counted = passes_alone(trials.algorithm, trials.resolved.spec.training.epochs)
    return replace(counted, reads=reads, sentence=f"{_reading(reads, order)}; {counted.sentence}")


def passes_alone(algorithm: Algorithm, epochs: int) -> Locality:
    """Passes over the data in a run of so many epochs, where nothing could be watched."""
    plan = [phase for epoch in range(epochs) for phase in algorithm.phases(epoch, epochs)]
    phases = tuple(dict.fromkeys(plan))
    kinds = "one kind of pass" if len(phases) == 1 else f"{len(phases)} kinds of passes"
    passes = len(plan) / epochs
    return Locality({}, phases, passes, f"{kinds} over the data ({listed(phases)}), {passes:.3g} an epoch.")


def _reading(reads: dict[str, tuple[str, ...]], order: tuple[str, ...]) -> str:
    above = [layer for layer, read in reads.items() if any(order.index(each) > order.index(layer) for each in read)]
    if above:
        return f"Within a step, the update of {layers_text(above, order)} is computed from weights of layers above"
    return "Within a step, no update is computed from weights of a layer above"
