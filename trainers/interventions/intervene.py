"""All intervention tests of one algorithm on one network, for any algorithm, with no hook in it."""

import math
from itertools import groupby
from typing import Any

from trainers.algorithms.base import Properties
from trainers.interventions.derivative import needs_derivative
from trainers.interventions.error_signal import global_error_signal
from trainers.interventions.feedback import feedback
from trainers.interventions.locality import locality, passes_alone
from trainers.interventions.locking import backward_locking, forward_locking, layer_parallel, update_locking
from trainers.interventions.results import Report, Result, untested
from trainers.interventions.trials import Trials, fresh
from trainers.interventions.wording import listed
from trainers.networks.base import Network
from trainers.resolve import Resolved, resolve_parts
from trainers.spec import TrainingSpec

NO_CHAIN = "The layers of this network are no chain, in which above and below would have a meaning."


def intervene(spec: TrainingSpec | dict[str, Any]) -> Report:
    """The verdict on every declared property, on the spec's network and with its hyperparameters. Raises SpecError.

    No data are loaded and nothing is kept: the verdicts are a function of the spec.
    """
    return intervene_on(resolve_parts(spec))


def intervene_on(resolved: Resolved) -> Report:
    """As `intervene`, for a spec that is resolved, or an algorithm that is in no registry."""
    declared = resolved.algorithm.properties(resolved.hyperparameters, resolved.network_options)
    network, algorithm = fresh(resolved)
    described = f"{resolved.network_options.kind}, layers of {listed(_widths(network))} units"
    if not _is_chain(network):
        results = [untested(name, each.answer, NO_CHAIN) for name, each in declared.questions().items()]
        counted = passes_alone(algorithm, resolved.spec.training.epochs)
        return Report(resolved.spec.algorithm, described, tuple(results), counted)
    trials = Trials(resolved)
    results = _results(trials, declared)
    order = list(declared.questions())
    results.sort(key=lambda each: order.index(each.property))
    return Report(resolved.spec.algorithm, described, tuple(results), locality(trials))


def _results(trials: Trials, declared: Properties) -> list[Result]:
    update = update_locking(trials, declared.update_locking)
    backward = backward_locking(trials, declared.backward_locking, update)
    return [
        *feedback(trials, declared.weight_transport, declared.symmetric_feedback),
        global_error_signal(trials, declared.global_error_signal),
        forward_locking(trials, declared.forward_locking),
        backward,
        update,
        needs_derivative(trials, declared.needs_derivative),
        layer_parallel(trials, declared.layer_parallel, update),
    ]


def _widths(network: Network) -> list[str]:
    """One for each layer, equal ones together."""
    widths = [" x ".join(map(str, layer.out_shape)) for layer in network.layers]
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    return [text for width, count in runs for text in ([width] * count if count < 4 else [f"{width} ({count} times)"])]


def _is_chain(network: Network) -> bool:
    """Whether each layer takes what the one before it puts out."""
    pairs = zip(network.layers, network.layers[1:], strict=False)
    return all(math.prod(below.out_shape) == math.prod(above.in_shape) for below, above in pairs)
