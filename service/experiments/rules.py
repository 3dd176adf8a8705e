"""The rules of an experiment that decide what it trains beyond its matrix: all fixed before the first result.

budget          an upper bound of jobs and of seconds of training
adaptive_seeds  more seeds until the intervals are narrow
early_stop      runs that fall behind are stopped, and count as they stand
tune            quasi-random trials of each algorithm's hyperparameters beforehand
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from trainers.spec import Name, StrictModel

MOST_JOBS = 1_000
MOST_TRIALS = 500
LARGEST_SEED = 2**31 - 1
FIRST_TUNING_SEED = 1_000_000
"""Seeds of tuning that are only counted begin here, far from those of the comparison."""
LONGEST_SECONDS = 10 * 365 * 86_400.0

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


def each_once(values: list[Any]) -> bool:
    """No value twice."""
    return all(value not in values[:place] for place, value in enumerate(values))


class Budget(StrictModel):
    """What an experiment may take. One of the two at least."""

    jobs: int | None = Field(
        default=None, ge=1, le=MOST_JOBS, description="an experiment that could make more is refused"
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        description="of training, over all its jobs; once they are spent, what has not begun is cancelled",
    )

    @model_validator(mode="after")
    def _bounds_something(self) -> "Budget":
        if self.jobs is None and self.seconds is None:
            raise ValueError("give jobs, seconds, or both")
        return self


class AdaptiveSeeds(StrictModel):
    """Further seeds for all arms until every arm's difference to the reference is known well enough."""

    half_width: float = Field(
        gt=0, lt=1, description="of the 95 % intervals of the differences in test accuracy; 0.005 is half a point"
    )
    most: int = Field(ge=2, le=MOST_JOBS, description="seeds altogether; there it ends however wide the intervals")
    least: int = Field(default=10, ge=2, le=MOST_JOBS, description="seeds before which narrow intervals end nothing")
    step: int = Field(default=5, ge=1, le=MOST_JOBS, description="seeds added between two looks at the intervals")


class EarlyStop(StrictModel):
    """Stops runs that fall behind the others (Golovin et al. 2017, section 3.2); never those of backprop and controls.

    A run is stopped if its best validation accuracy so far is below the median of what the runs that have ended on its
    workload had on average up to the same epoch.
    """

    rule: Literal["median"] = "median"
    after_epochs: int = Field(
        default=3, ge=1, le=100_000, description="no run is stopped before it has trained so many"
    )
    least_runs: int = Field(default=3, ge=1, le=MOST_JOBS, description="ended runs without which nothing is stopped")


class Range(StrictModel):
    """Where a hyperparameter is searched: from low to high, or among choices."""

    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    integer: bool = Field(default=False, description="whole numbers only, both ends included")
    choices: list[JsonValue] | None = Field(default=None, min_length=2, max_length=50)

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("give choices, or low and high, not both")
            if not each_once(self.choices):
                raise ValueError("each choice must stand there once")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("give low and high, low being smaller; or choices")
        if self.scale == "log" and self.low <= 0:
            raise ValueError("a log scale begins above 0")
        return self

    def value(self, share: float) -> Any:
        """The value at a share of the way, 0 ≤ share < 1."""
        if self.choices is not None:
            return self.choices[int(share * len(self.choices))]
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        if self.scale == "log":
            found = self.low * (self.high / self.low) ** share
        else:
            found = self.low + share * (self.high - self.low)
        return float(f"{found:.4g}")  # what people read in a table is what was trained


class Tune(StrictModel):
    """Trials of hyperparameters before the comparison: as many for each algorithm, judged on validation data alone."""

    trials: int = Field(ge=2, le=MOST_TRIALS, description="of each algorithm on each workload")
    seeds: Annotated[int, Field(ge=1, le=50)] | list[Seed] = Field(
        default=1,
        description="of each trial: how many, or which; none of them is trained in the comparison. How many: "
        f"{FIRST_TUNING_SEED:,}, …",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_SECONDS,
        description="of training for all trials; once they are spent, only trials that every algorithm finished count",
    )
    sampler_seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of the scrambled Halton sequence")
    search_spaces: dict[Name, dict[Name, Range]] = Field(
        default_factory=dict, description="by algorithm and hyperparameter; left out: the algorithm's declared one"
    )

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, list) and not (0 < len(seeds) <= 50 and each_once(seeds)):
            raise ValueError("must be 1 to 50 seeds, each once")
        return seeds

    def seed_list(self) -> list[int]:
        """The seeds of each trial."""
        if isinstance(self.seeds, list):
            return list(self.seeds)
        return list(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.seeds))
