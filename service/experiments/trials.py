"""Trials of a search: the same number of settings for each algorithm on each workload, spread over its declared space.

What the request fixes in `hyperparameters` stays fixed and is not searched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.experiments.request import ExperimentRequest
from service.experiments.request_checks import unknown_algorithms
from service.experiments.search_spaces import SEARCH_SPACES, Space, points
from trainers.errors import FieldError, SpecError
from trainers.spec import TrainingSpec, did_you_mean

if TYPE_CHECKING:
    from service.experiments.planning import Cell


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of an arm's hyperparameters on one workload; `spec` has the seed 0."""

    arm: str
    workload: int
    number: int
    spec: TrainingSpec


def space_of(request: ExperimentRequest, algorithm: str) -> Space:
    """What is searched of this algorithm: its space without what the request fixes. {} where none is declared."""
    assert request.tune is not None
    space: Space = request.tune.search_spaces.get(algorithm) or SEARCH_SPACES.get(algorithm, {})
    fixed = request.hyperparameters.get(algorithm, {})
    return {name: space[name] for name in sorted(space) if name not in fixed}  # whatever order they are stored in


def check_trials(request: ExperimentRequest, cells: Sequence["Cell"]) -> Iterator[FieldError]:
    """What is wrong with the spaces that are searched. Nothing where the cells could not be resolved."""
    if request.tune is None or request.algorithms is None:
        return
    given = request.tune.search_spaces
    yield from unknown_algorithms("#/tune/search_spaces", given, request.algorithms)
    for algorithm in request.algorithms:
        for name in given.get(algorithm, {}):
            known = next((list(cell.spec.hyperparameters) for cell in cells if cell.arm == algorithm), None)
            if known is not None and name not in known:
                yield FieldError(
                    f"#/tune/search_spaces/{algorithm}/{name}",
                    f"{algorithm} has no hyperparameter {name!r}.{did_you_mean(name, known)}",
                    name,
                    tuple(known),
                )
        if not space_of(request, algorithm):
            fixed = algorithm in SEARCH_SPACES or algorithm in given
            why = "hyperparameters fixes all of its space" if fixed else "it declares no search space"
            yield FieldError(
                f"#/tune/search_spaces/{algorithm}",
                f"There is nothing to search of {algorithm}: {why}. Name ranges here, or leave the algorithm out.",
                None,
            )


def trials_of(request: ExperimentRequest, cells: Sequence["Cell"], problems: list[FieldError]) -> Iterator[Trial]:
    """Trial by trial, so that every algorithm is as far as the others. Wrong settings are added to `problems`."""
    tune = request.tune
    if tune is None:
        return
    from trainers.resolve import resolve

    settings = {arm: _points(request, arm) for arm in dict.fromkeys(cell.arm for cell in cells)}
    for number in range(tune.trials):
        for cell in cells:
            tried = settings[cell.arm][number]
            asked = {**request.hyperparameters.get(cell.arm, {}), **tried}
            # Nothing reads a trial's diagnoses and tests, and they would be part of the price.
            quiet = cell.spec.training.model_copy(update={"diagnose_every_steps": None, "interventions": False})
            try:
                spec = resolve(cell.spec.model_copy(update={"hyperparameters": asked, "training": quiet}))
            except SpecError as error:
                problems += [_moved(each, cell.arm, number, tried) for each in error.errors]
                continue
            yield Trial(cell.arm, cell.workload, number, spec)


def _points(request: ExperimentRequest, algorithm: str) -> list[dict[str, Any]]:
    assert request.tune is not None
    return points(space_of(request, algorithm), request.tune.trials, request.tune.sampler_seed)


def _moved(error: FieldError, arm: str, number: int, tried: dict[str, Any]) -> FieldError:
    name = error.pointer.removeprefix("#/hyperparameters/").split("/")[0]
    pointer = f"#/tune/search_spaces/{arm}" + (f"/{name}" if name in tried else "")
    return FieldError(pointer, f"Trial {number} of {arm}: {error.detail}", error.got, error.allowed)
