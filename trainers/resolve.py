"""Fills every default of a spec in and checks its parts against each other, before anything is queued or loaded.

spec as posted → names found → options of data set, network and algorithm parsed → combination checked → spec, whole
"""

import secrets
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from trainers.datasets.declaration import Dataset, Task
from trainers.errors import FieldError, SpecError
from trainers.registry import ALGORITHMS, DATASETS, NETWORKS
from trainers.spec import TrainingSpec, parse_model, parse_spec


@dataclass(frozen=True, slots=True)
class Resolved:
    """A whole spec, and the typed parts that it stands for."""

    spec: TrainingSpec
    algorithm: type[Any]
    hyperparameters: BaseModel
    dataset: type[Dataset[Any]]
    dataset_options: Any
    task: Task
    network: type[Any]
    network_options: Any


def resolve(spec: TrainingSpec | dict[str, Any]) -> TrainingSpec:
    """The spec with every default filled in; a copy of it repeats the run exactly. Raises SpecError."""
    return resolve_parts(spec).spec


def resolve_parts(spec: TrainingSpec | dict[str, Any]) -> Resolved:
    """As `resolve`, with the typed parts. All unknown names and wrong options are reported together."""
    if not isinstance(spec, TrainingSpec):
        spec = parse_spec(spec)
    problems: list[FieldError] = []

    def attempt(part: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return part(*arguments, **keywords)
        except SpecError as error:
            problems.extend(error.errors)
            return None

    algorithm = attempt(ALGORITHMS.find, spec.algorithm, pointer="#/algorithm")
    dataset = attempt(DATASETS.find, spec.dataset, pointer="#/dataset")
    hyperparameters = algorithm and attempt(
        parse_model, algorithm.Hyperparameters, spec.hyperparameters, at="#/hyperparameters"
    )
    options = dataset and attempt(parse_model, dataset.Options, spec.dataset_options, at="#/dataset_options")
    network, network_options = _network(spec, dataset, attempt)
    if problems:
        raise SpecError.of(problems)

    task = dataset.task(options)
    _check_fit(dataset, task, network, network_options, spec)
    training = spec.training.model_copy(
        update={"seed": spec.training.seed if spec.training.seed is not None else secrets.randbelow(2**31)}
    )
    hyperparameters = algorithm.complete(hyperparameters, network_options, training)
    _check_processes(spec, algorithm, hyperparameters, network_options)
    whole = TrainingSpec(
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        hyperparameters=hyperparameters.model_dump(mode="json"),
        dataset_options=options.model_dump(mode="json"),
        network=network_options.model_dump(mode="json"),
        training=training,
    )
    return Resolved(whole, algorithm, hyperparameters, dataset, options, task, network, network_options)


def _network(spec: TrainingSpec, dataset: type[Dataset[Any]] | None, attempt: Any) -> tuple[Any, Any]:
    """The network's class and options: the posted ones, or the data set's usual ones."""
    posted = dict(spec.network)
    if not posted and dataset is not None:
        posted = dict(dataset.usual_network)
    kind = posted.get("kind", "mlp")
    if not isinstance(kind, str):
        attempt(_refuse_kind, kind)
        return None, None
    network = attempt(NETWORKS.find, kind, pointer="#/network/kind")
    return network, network and attempt(parse_model, network.Options, {**posted, "kind": kind}, at="#/network")


def _refuse_kind(kind: Any) -> None:
    raise SpecError("#/network/kind", "network.kind must be a name.", got=kind, allowed=list(NETWORKS))


def _check_fit(dataset: type[Dataset[Any]], task: Task, network: type[Any], options: Any, spec: TrainingSpec) -> None:
    """Raises SpecError where the network cannot take the data, or the budget does not fit the data set."""
    if dataset.endless and spec.training.steps_per_epoch is None:
        raise SpecError(
            "#/training/steps_per_epoch",
            f"{dataset.name} is an endless stream: say how many batches an epoch has in training.steps_per_epoch.",
        )
    if not dataset.endless and spec.training.steps_per_epoch is not None:
        raise SpecError(
            "#/training/steps_per_epoch",
            f"{dataset.name} is not a stream: its epoch is one pass over the data. Leave training.steps_per_epoch out.",
            got=spec.training.steps_per_epoch,
        )
    network.check(options, task)


def _check_processes(spec: TrainingSpec, algorithm: type[Any], hyperparameters: Any, network: Any) -> None:
    """Raises SpecError where the layers cannot be shared out to as many processes as the spec asks for."""
    training = spec.training
    if training.processes == 1:
        return
    most = algorithm.most_processes(hyperparameters, network) if hasattr(algorithm, "most_processes") else 1
    if training.processes > most:
        raise SpecError(
            "#/training/processes",
            f"training.processes is {training.processes}, but {spec.algorithm} can share this {network.kind} out to "
            + (f"{most} processes at most, one a module." if most > 1 else "no second process; set it to 1."),
            got=training.processes,
            allowed=list(range(1, most + 1)),
        )
    for field, refused, allowed in (("device", "cuda", ["auto", "cpu"]), ("precision", "bfloat16", ["float32"])):
        if getattr(training, field) == refused:
            raise SpecError(
                f"#/training/{field}",
                f"Layers in {training.processes} processes train on the CPU, in float32 or float64; {field} is "
                f"{refused}. Choose {allowed[-1]}, or set training.processes to 1.",
                got=refused,
                allowed=allowed,
            )
