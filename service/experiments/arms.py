"""Arms: what an experiment compares, each with a name that people read in tables.

An algorithm as it is has its own name; one of several settings of it also says what tells it apart:
"frozen learning_rate=0.1". Backprop, the reference, and the controls stay in as they are beside their other settings.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.comparison.protocol import CONTROLS, REFERENCE
from service.experiments.request import ExperimentRequest, ListedJob

ALWAYS_THERE = (REFERENCE, *CONTROLS)
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def arm_name(algorithm: str, settings: Mapping[str, Any]) -> str:
    """The algorithm, and these settings."""
    return " ".join([algorithm, *(f"{name}={_short(value)}" for name, value in settings.items())])


def combinations(request: ExperimentRequest, algorithm: str) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Settings of each arm of this algorithm, and the pointer of each value; nothing for the algorithm as it is."""
    axes = dict(sorted(request.hyperparameter_values.get(algorithm, {}).items()))  # whatever order they are stored in
    if not axes or algorithm in ALWAYS_THERE:
        yield {}, {}
    if axes:
        for places in itertools.product(*(range(len(values)) for values in axes.values())):
            chosen = list(zip(axes, places, strict=True))
            at = {name: f"#/hyperparameter_values/{algorithm}/{name}/{place}" for name, place in chosen}
            yield {name: axes[name][place] for name, place in chosen}, at


def arms_of(request: ExperimentRequest, algorithm: str) -> int:
    """How many arms this algorithm has in the matrix."""
    if algorithm not in request.hyperparameter_values:
        return 1
    return request.combinations(algorithm) + (algorithm in ALWAYS_THERE)


def listed_arms(jobs: Sequence[ListedJob]) -> list[str]:
    """The arm of each job: the name it was given, else the algorithm and what differs among its unnamed jobs."""
    unnamed: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        if job.arm is None:
            unnamed.setdefault(job.algorithm, []).append(job.hyperparameters)
    differing = {
        algorithm: [
            name for name in sorted(set(itertools.chain(*settings))) if len({_told(s, name) for s in settings}) > 1
        ]
        for algorithm, settings in unnamed.items()
    }
    return [
        job.arm
        or arm_name(
            job.algorithm,
            {n: job.hyperparameters[n] for n in differing[job.algorithm] if n in job.hyperparameters},
        )
        for job in jobs
    ]


def _told(settings: Mapping[str, Any], name: str) -> str | None:
    return _short(settings[name]) if name in settings else None


def _short(value: Any) -> str:
    """A word as it is, all else as JSON, so that no two values read alike."""
    if isinstance(value, str) and WORD.fullmatch(value) and value not in ("true", "false", "null"):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
