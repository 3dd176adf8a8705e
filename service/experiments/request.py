"""What is posted to make an experiment: a matrix or a list of jobs, one budget of training, and rules (rules.py)."""

import math
from typing import Annotated, Any

from pydantic import Field, JsonValue, field_validator

from service.experiments.rules import MOST_JOBS, AdaptiveSeeds, Budget, EarlyStop, Seed, Tune, each_once
from trainers.spec import Name, StrictModel, Training

Network = dict[str, JsonValue]

MATRIX_KEYS = (
    "algorithms",
    "datasets",
    "dataset_options",
    "network",
    "networks",
    "hyperparameters",
    "hyperparameter_values",
    "training",
    "seeds",
)
"""Keys that a list of jobs replaces."""


class ListedJob(StrictModel):
    """One job of an explicit list."""

    arm: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="what it is compared as; left out: the algorithm, and those hyperparameters that tell it apart",
    )
    algorithm: Name
    dataset: Name
    dataset_options: dict[str, JsonValue] = Field(default_factory=dict)
    network: Network = Field(default_factory=dict, description="left out: the data set's usual network")
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    training: Training = Field(
        default_factory=Training, description="the same for all jobs of a data set and network; its seed is left out"
    )
    seed: Seed


class ExperimentRequest(StrictModel):
    """An experiment. `{"algorithms": ["backprop", "frozen"], "datasets": ["digits"]}` is a whole one."""

    name: str = Field(default="", max_length=200, description="for people, and the title of the report")
    algorithms: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="each is an arm; backprop, the reference, must be one of them. Needed, but for a list of jobs",
    )
    datasets: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description="sets whose targets are classes. Needed, but for a list of jobs",
    )
    dataset_options: dict[Name, dict[str, JsonValue]] = Field(
        default_factory=dict, description="by data set: train_size, validation_size, …; left out: their defaults"
    )
    network: Network | None = Field(default=None, description="for all; left out: each data set's usual network")
    networks: list[Network] | None = Field(
        default=None, min_length=1, max_length=50, description="several, each with every data set; instead of network"
    )
    hyperparameters: dict[Name, dict[str, JsonValue]] = Field(
        default_factory=dict, description="by algorithm; what is left out has the algorithm's default"
    )
    hyperparameter_values: dict[Name, dict[Name, list[JsonValue]]] = Field(
        default_factory=dict,
        description="by algorithm and hyperparameter, several values of each: every combination is an arm. Backprop "
        "and the controls stay in as they are as well",
    )
    training: Training = Field(default_factory=Training, description="the same for every job; its seed is left out")
    seeds: Annotated[int, Field(ge=1, le=MOST_JOBS)] | list[Seed] = Field(
        default=10, description="how many (0, 1, …), or which; 10 and more give a verdict, 6 to 9 a suggestion"
    )
    jobs: list[ListedJob] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_JOBS,
        description="every job of it, instead of the matrix of algorithms, datasets, networks, hyperparameters, seeds",
    )
    budget: Budget | None = Field(default=None, description="null: none")
    adaptive_seeds: AdaptiveSeeds | None = Field(default=None, description="null: the seeds asked for and no others")
    early_stop: EarlyStop | None = Field(default=None, description="null: every run trains to its end")
    tune: Tune | None = Field(default=None, description="null: hyperparameters are as given, or the defaults")
    priority: int = Field(default=0, ge=-1000, le=1000, description="of its jobs; higher ones are claimed first")
    queue: Name | None = Field(default=None, description="of its jobs; null: by training.device")

    @field_validator("algorithms", "datasets")
    @classmethod
    def _names_once(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and not each_once(names):
            raise ValueError("each name must stand there once")
        return names

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, list) and not (0 < len(seeds) <= MOST_JOBS and len(set(seeds)) == len(seeds)):
            raise ValueError(f"must be 1 to {MOST_JOBS} seeds, each once")
        return seeds

    @field_validator("hyperparameter_values")
    @classmethod
    def _values_once(cls, arms: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[Any]]]:
        for algorithm, axes in arms.items():
            for name, values in axes.items():
                if not (0 < len(values) <= 50 and each_once(values)):
                    raise ValueError(f"{algorithm}.{name} must be a list of 1 to 50 values, each once")
        return arms

    def whole(self) -> dict[str, Any]:
        """As posted, defaults filled in; posted again, it repeats the experiment."""
        return self.model_dump(mode="json", exclude={"jobs"} if self.jobs is None else set(MATRIX_KEYS))

    def seed_list(self) -> list[int]:
        """The seeds of the comparison as it was asked for, one after the other."""
        if self.jobs is not None:
            return list(dict.fromkeys(job.seed for job in self.jobs))
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    def network_list(self) -> list[tuple[str, Network]]:
        """Pointer and network of each; one empty network stands for each data set's usual one."""
        if self.networks is not None:
            return [(f"#/networks/{place}", network) for place, network in enumerate(self.networks)]
        return [("#/network", self.network or {})]

    def combinations(self, algorithm: str) -> int:
        """Arms that the values of this algorithm's hyperparameters make; 1 where none are given."""
        return math.prod(len(values) for values in self.hyperparameter_values.get(algorithm, {}).values())

    @property
    def has_rules(self) -> bool:
        """Whether anything is to be decided after the first jobs are queued."""
        seconds = self.budget is not None and self.budget.seconds is not None
        return seconds or not (self.adaptive_seeds is None and self.early_stop is None and self.tune is None)


class MoreSeeds(StrictModel):
    """Further seeds for every arm of an experiment."""

    seeds: list[Seed] = Field(min_length=1, max_length=MOST_JOBS, description="none of them in it yet")

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed must stand there once")
        return seeds
