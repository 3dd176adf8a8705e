"""The declared search space of each algorithm: which of its hyperparameters are tuned, and where.

One space an algorithm, fixed here before any data: ranges reach about ten times below and above what the papers and
the recipes take, rates on a log scale. What is not listed keeps its default. Tests hold every entry against the
algorithm's own model of its hyperparameters.
"""

from collections.abc import Mapping
from typing import Any

from service.experiments.rules import Range

Space = Mapping[str, Range]


def _log(low: float, high: float) -> Range:
    return Range(low=low, high=high, scale="log")


def _linear(low: float, high: float) -> Range:
    return Range(low=low, high=high)


def _whole(low: int, high: int) -> Range:
    return Range(low=low, high=high, integer=True)


def _choice(*values: Any) -> Range:
    return Range(choices=list(values))


_ADAM: Space = {
    "learning_rate": _log(1e-4, 3e-2),
    "weight_decay": _log(1e-6, 1e-2),
    "schedule": _choice("constant", "cosine"),
}

SEARCH_SPACES: Mapping[str, Space] = {
    "backprop": _ADAM,
    "frozen": _ADAM,
    "backprop_checkpointed": _ADAM,
    "backprop_extra_heads": {**_ADAM, "head_weight": _log(0.03, 1.0)},
    "alternating_minimization": {
        "learning_rate": _log(5e-4, 5e-2),
        "mu": _log(3e-4, 3e-2),
        "code_learning_rate": _log(0.03, 3.0),
        "code_steps": _whole(1, 10),
    },
    "difference_target_propagation": {
        "learning_rate": _log(1e-3, 1e-1),
        "feedback_learning_rate": _log(5e-4, 5e-2),
        "target_step": _log(0.03, 3.0),
        "feedback_noise": _linear(0.05, 0.6),
    },
    "hsic_bottleneck": {
        "learning_rate": _log(1e-4, 1e-2),
        "readout_learning_rate": _log(1e-4, 3e-2),
        "label_weight": _log(5.0, 1000.0),
        "sigma": _log(1.0, 20.0),
    },
    "synthetic_gradients": {
        "learning_rate": _log(1e-4, 1e-2),
        "synthesizer_learning_rate": _log(1e-4, 1e-2),
        "synthesizer_layers": _whole(0, 2),
        "applied_scale": _log(0.03, 1.0),
    },
}


def points(space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """So many settings that fill the space evenly: a scrambled Halton sequence, the same for the same seed.

    Halton and not Sobol, whose points are only balanced where their number is a power of two.
    """
    from scipy.stats import qmc

    sequence = qmc.Halton(len(space), scramble=True, rng=seed).random(trials)
    return [
        {name: found.value(float(share)) for (name, found), share in zip(space.items(), shares, strict=True)}
        for shares in sequence
    ]
