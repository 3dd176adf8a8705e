"""What is posted to make an experiment: a matrix of algorithms, data sets, networks and seeds, and one budget."""

from typing import Annotated

from pydantic import Field, JsonValue, field_validator, model_validator

from trainers.spec import Name, StrictModel, Training

MOST_JOBS = 1_000
LARGEST_SEED = 2**31 - 1

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Network = dict[str, JsonValue]


def _each_once(values: list[str] | list[int]) -> bool:
    return len(set(values)) == len(values)


class ExperimentRequest(StrictModel):
    """An experiment. `{"algorithms": ["backprop", "frozen"], "datasets": ["digits"]}` is a whole one."""

    name: str = Field(default="", max_length=200, description="for people, and the title of the report")
    algorithms: list[Name] = Field(
        min_length=1, max_length=50, description="each is an arm; backprop, the reference, must be one of them"
    )
    datasets: list[Name] = Field(min_length=1, max_length=50, description="sets whose targets are classes")
    network: Network | None = Field(default=None, description="for all; left out: each data set's usual network")
    networks: list[Network] | None = Field(
        default=None, min_length=1, max_length=50, description="several, each with every data set; instead of network"
    )
    hyperparameters: dict[Name, dict[str, JsonValue]] = Field(
        default_factory=dict, description="by algorithm; what is left out has the algorithm's default"
    )
    training: Training = Field(default_factory=Training, description="the same for every job; its seed is left out")
    seeds: Annotated[int, Field(ge=1, le=MOST_JOBS)] | list[Seed] = Field(
        default=10, description="how many (0, 1, …), or which; 10 and more give a verdict, 6 to 9 a suggestion"
    )
    priority: int = Field(default=0, ge=-1000, le=1000, description="of its jobs; higher ones are claimed first")
    queue: Name | None = Field(default=None, description="of its jobs; null: by training.device")

    @field_validator("algorithms", "datasets")
    @classmethod
    def _names_once(cls, names: list[str]) -> list[str]:
        if not _each_once(names):
            raise ValueError("each name must stand there once")
        return names

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, list) and not (0 < len(seeds) <= MOST_JOBS and _each_once(seeds)):
            raise ValueError(f"must be 1 to {MOST_JOBS} seeds, each once")
        return seeds

    @model_validator(mode="after")
    def _one_way_to_name_networks(self) -> "ExperimentRequest":
        if self.network is not None and self.networks is not None:
            raise ValueError("give network or networks, not both")
        return self

    def seed_list(self) -> list[int]:
        """The seeds, one after the other."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    def network_list(self) -> list[tuple[str, Network]]:
        """Pointer and network of each; one empty network stands for each data set's usual one."""
        if self.networks is not None:
            return [(f"#/networks/{place}", network) for place, network in enumerate(self.networks)]
        return [("#/network", self.network or {})]

    def size(self) -> int:
        """How many jobs it asks for."""
        return len(self.algorithms) * len(self.datasets) * len(self.network_list()) * len(self.seed_list())


class MoreSeeds(StrictModel):
    """Further seeds for every arm of an experiment."""

    seeds: list[Seed] = Field(min_length=1, max_length=MOST_JOBS, description="none of them in it yet")

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: list[int]) -> list[int]:
        if not _each_once(seeds):
            raise ValueError("each seed must stand there once")
        return seeds
