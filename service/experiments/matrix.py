"""A request as the jobs that it asks for, each spec resolved; or every wrong part of it, together.

Arms differ in nothing but the algorithm: of one workload and seed all jobs have the same network, budget and seed,
from which initial weights, split and order of batches follow. (The registry, and with it torch, is loaded when the
first request is resolved, not when this module is imported.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.comparison.protocol import REFERENCE
from service.experiments.request import MOST_JOBS, ExperimentRequest
from service.experiments.workloads import network_labels
from trainers.errors import FieldError, SpecError
from trainers.spec import TrainingSpec, did_you_mean, parse_model

SCORED_BY_ACCURACY = ("classification", "sequence_classification")


@dataclass(frozen=True, slots=True)
class Matrix:
    """All jobs of an experiment, seed by seed so that early results already compare; and what is fixed beforehand."""

    request: ExperimentRequest
    specs: tuple[TrainingSpec, ...]
    workloads: tuple[dict[str, Any], ...]
    properties: dict[str, dict[str, dict[str, Any]]]


def plan(data: Mapping[str, Any]) -> Matrix:
    """The matrix that a decoded body asks for. Raises SpecError that names every wrong field."""
    request = parse_model(ExperimentRequest, data)
    problems = list(_check_whole(request))
    if request.size() > MOST_JOBS:
        raise SpecError.of([*problems, _too_many(request)])

    from trainers.resolve import resolve_parts

    cells: dict[tuple[str, str, str], Any] = {}
    for a, algorithm in enumerate(request.algorithms):
        for d, dataset in enumerate(request.datasets):
            for at, network in request.network_list():
                spec = TrainingSpec(
                    algorithm=algorithm,
                    dataset=dataset,
                    hyperparameters=request.hyperparameters.get(algorithm, {}),
                    network=network,
                    training=request.training.model_copy(update={"seed": 0}),
                )
                try:
                    found = resolve_parts(spec)
                except SpecError as error:
                    problems += [_moved(each, a, algorithm, d, at) for each in error.errors]
                    continue
                if found.task.kind not in SCORED_BY_ACCURACY:
                    problems.append(_no_classes(d, dataset, found.task.kind))
                cells[algorithm, dataset, at] = found
    problems += _same_networks(request, cells)
    if problems:
        raise SpecError.of(_each_once(problems))
    return Matrix(
        request=request,
        specs=tuple(with_seed(cell.spec, seed) for seed in request.seed_list() for cell in cells.values()),
        workloads=tuple(_workloads(cells)),
        properties={algorithm: _declared(algorithm, cells) for algorithm in request.algorithms},
    )


def with_seed(spec: TrainingSpec, seed: int) -> TrainingSpec:
    """The same but for the seed."""
    return spec.model_copy(update={"training": spec.training.model_copy(update={"seed": seed})})


def seed_of(spec: TrainingSpec) -> int:
    """Of a resolved spec, which always has one."""
    assert spec.training.seed is not None
    return spec.training.seed


def _check_whole(request: ExperimentRequest) -> Iterator[FieldError]:
    """What concerns the matrix rather than one of its jobs."""
    if REFERENCE not in request.algorithms:
        yield FieldError(
            "#/algorithms",
            f"{REFERENCE} must be among the algorithms: every comparison is with it.",
            request.algorithms,
        )
    for name in request.hyperparameters:
        if name not in request.algorithms:
            hint = did_you_mean(name, request.algorithms)
            yield FieldError(
                f"#/hyperparameters/{name}",
                f"hyperparameters.{name}: there is no such algorithm in this experiment.{hint}",
                request.hyperparameters[name],
                tuple(request.algorithms),
            )
    if request.training.seed is not None:
        yield FieldError(
            "#/training/seed",
            "training.seed must be left out: every arm is trained once with each of seeds.",
            request.training.seed,
        )


def _too_many(request: ExperimentRequest) -> FieldError:
    shape = (request.algorithms, request.datasets, request.network_list(), request.seed_list())
    factors = " x ".join(str(len(part)) for part in shape)
    return FieldError(
        "#/seeds",
        f"{factors} (algorithms, data sets, networks, seeds) are {request.size():,} jobs; an experiment has at most "
        f"{MOST_JOBS:,}. Take fewer seeds, or several experiments.",
        request.seeds,
    )


def _moved(error: FieldError, a: int, algorithm: str, d: int, network: str) -> FieldError:
    """A job's wrong field, where it stands in the experiment's body."""
    part, _, rest = error.pointer.removeprefix("#/").partition("/")
    tail = f"/{rest}" if rest else ""
    place = {
        "algorithm": f"#/algorithms/{a}",
        "dataset": f"#/datasets/{d}",
        "dataset_options": f"#/datasets/{d}",
        "hyperparameters": f"#/hyperparameters/{algorithm}{tail}",
        "network": f"{network}{tail}",
    }.get(part, error.pointer)
    return FieldError(place, error.detail, error.got, error.allowed)


def _no_classes(d: int, dataset: str, kind: str) -> FieldError:
    return FieldError(
        f"#/datasets/{d}",
        f"{dataset} is a task of {kind}; experiments compare test accuracies, so they take data sets of "
        f"{' and '.join(SCORED_BY_ACCURACY)}.",
        dataset,
    )


def _same_networks(request: ExperimentRequest, cells: Mapping[tuple[str, str, str], Any]) -> Iterator[FieldError]:
    """Two networks that are the same once their defaults are filled in would be one workload twice."""
    seen: dict[tuple[str, str], str] = {}
    for (algorithm, dataset, at), cell in cells.items():
        if algorithm != request.algorithms[0]:
            continue
        first = seen.setdefault((dataset, repr(cell.spec.network)), at)
        if first != at:
            yield FieldError(at, f"This is the same network as {first}; each must stand there once.", None)


def _each_once(problems: list[FieldError]) -> Iterator[FieldError]:
    """Each once: the same wrong network is found with every algorithm."""
    seen: set[tuple[str, str]] = set()
    for each in problems:
        if (each.pointer, each.detail) not in seen:
            seen.add((each.pointer, each.detail))
            yield each


def _workloads(cells: Mapping[tuple[str, str, str], Any]) -> Iterator[dict[str, Any]]:
    found: dict[tuple[str, str], Any] = {}
    for (_, dataset, at), cell in cells.items():
        found.setdefault((dataset, at), cell)
    for dataset in dict.fromkeys(dataset for dataset, _ in found):
        mine = [cell for (name, _), cell in found.items() if name == dataset]
        labels = network_labels([cell.spec.network for cell in mine])
        for cell, label in zip(mine, labels, strict=True):
            yield {
                "dataset": dataset,
                "network": cell.spec.network,
                "label": label,
                "chance": 1 / cell.task.outputs,
            }


def _declared(algorithm: str, cells: Mapping[tuple[str, str, str], Any]) -> dict[str, dict[str, Any]]:
    """What an arm says it needs; needed on one of its networks is needed."""
    found: dict[str, dict[str, Any]] = {}
    for (name, _, _), cell in cells.items():
        if name != algorithm:
            continue
        declared = cell.algorithm.properties(cell.hyperparameters, cell.network_options)
        for question, answer in declared.questions().items():
            # The one question that asks for an ability; turned round, all of them ask for needs.
            is_ability = question == "layer_parallel"
            title = "layer_after_layer" if is_ability else question
            needed = answer.answer != ("yes" if is_ability else "no")
            if title not in found or (needed and not found[title]["needed"]):
                found[title] = {"needed": needed, "reason": answer.reason}
    return found
