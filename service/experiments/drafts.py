"""The jobs of a request before their specs are resolved, each with the places in the request that it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.experiments.arms import arm_name, arms_of, combinations, listed_arms
from service.experiments.request import ExperimentRequest
from service.experiments.rules import MOST_JOBS
from trainers.errors import FieldError
from trainers.spec import TrainingSpec

DEEP = ("#/hyperparameters", "#/network", "#/dataset_options")
"""Places in the request that hold the same mapping as the spec."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An arm on a workload with these seeds. `at`: part of the spec → its pointer; "" → that of a whole listed job."""

    arm: str
    spec: TrainingSpec
    seeds: tuple[int, ...]
    at: Mapping[str, str]


def drafts_of(request: ExperimentRequest) -> list[Draft] | None:
    """In the order of the request; None where the matrix alone has more than MOST_JOBS cells."""
    if request.jobs is not None:
        return list(_listed(request))
    algorithms, datasets = request.algorithms or [], request.datasets or []
    arms = sum(arms_of(request, algorithm) for algorithm in algorithms)
    if arms * len(datasets) * len(request.network_list()) * len(request.seed_list()) > MOST_JOBS:
        return None
    return list(_matrix(request, algorithms, datasets))


def place_in_request(error: FieldError, draft: Draft) -> FieldError:
    """A job's wrong field, where it stands in the experiment's body."""
    path = error.pointer.removeprefix("#/")
    if "" in draft.at:
        return FieldError(f"{draft.at['']}/{path}", error.detail, error.got, error.allowed)
    part, _, rest = path.partition("/")
    name, _, deeper = rest.partition("/")
    if f"{part}/{name}" in draft.at:
        base, tail = draft.at[f"{part}/{name}"], deeper
    elif part in draft.at:
        base, tail = draft.at[part], rest if draft.at[part].startswith(DEEP) else ""
    else:
        return error
    return FieldError(f"{base}/{tail}" if tail else base, error.detail, error.got, error.allowed)


def _matrix(request: ExperimentRequest, algorithms: list[str], datasets: list[str]) -> Iterator[Draft]:
    seeds = tuple(request.seed_list())
    for a, algorithm in enumerate(algorithms):
        fixed = request.hyperparameters.get(algorithm, {})
        for settings, places in combinations(request, algorithm):
            for d, dataset in enumerate(datasets):
                for at, network in request.network_list():
                    yield Draft(
                        arm=arm_name(algorithm, settings),
                        spec=TrainingSpec(
                            algorithm=algorithm,
                            dataset=dataset,
                            dataset_options=request.dataset_options.get(dataset, {}),
                            hyperparameters={**fixed, **settings},
                            network=network,
                            training=request.training.model_copy(update={"seed": 0}),
                        ),
                        seeds=seeds,
                        at={
                            "algorithm": f"#/algorithms/{a}",
                            "dataset": f"#/datasets/{d}",
                            "dataset_options": _options_at(request, d, dataset),
                            "hyperparameters": f"#/hyperparameters/{algorithm}",
                            "network": at,
                            **{f"hyperparameters/{name}": pointer for name, pointer in places.items()},
                        },
                    )


def _options_at(request: ExperimentRequest, place: int, dataset: str) -> str:
    """Where the options of a data set stand, or the data set where it has none."""
    return f"#/dataset_options/{dataset}" if dataset in request.dataset_options else f"#/datasets/{place}"


def _listed(request: ExperimentRequest) -> Iterator[Draft]:
    jobs = request.jobs or []
    for place, (job, arm) in enumerate(zip(jobs, listed_arms(jobs), strict=True)):
        yield Draft(
            arm=arm,
            spec=TrainingSpec(
                algorithm=job.algorithm,
                dataset=job.dataset,
                dataset_options=job.dataset_options,
                hyperparameters=job.hyperparameters,
                network=job.network,
                training=job.training.model_copy(update={"seed": 0}),
            ),
            seeds=(job.seed,),
            at={"": f"#/jobs/{place}"},
        )
