"""Published results that can be repeated: one JSON file each, beside this module.

A recipe has a quick form (minutes on two CPU cores) and the paper's own, each one spec or several arms to compare;
the paper's figure with its source and how sure it is; and what it costs. Torch-free.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trainers.errors import SpecError
from trainers.spec import StrictModel, TrainingSpec, did_you_mean, parse_model


class Figure(StrictModel):
    """What the source reports."""

    measure: str = Field(description="e.g. test_accuracy, test_error_percent")
    value: float | str
    mark: Literal["paper", "program", "rerun", "unconfirmed", "ours"] = Field(
        description="paper: its own words; program: read in the authors' program; rerun: repeated by us; "
        "unconfirmed: quoted from memory; ours: a demonstration without a published figure"
    )
    note: str = ""


class Form(StrictModel):
    """One way to run a recipe: an arm's name → its spec."""

    arms: dict[str, TrainingSpec]
    seeds: list[int] = Field(default=[1], min_length=1)
    cpu_minutes: float = Field(description="of one seed of all arms on two cores")
    gpu_minutes: float | None = None


class Recipe(StrictModel):
    """A published result, or a demonstration of ours."""

    name: str
    title: str
    summary: str
    algorithm: str
    source: str = Field(description="arXiv id and place")
    figures: list[Figure]
    quick: Form
    paper: Form | None = None

    def form(self, which: Literal["quick", "paper"]) -> Form:
        """Raises SpecError where there is no paper form."""
        if which == "quick":
            return self.quick
        if self.paper is None:
            raise SpecError(
                "#/form", f"The recipe {self.name} has no form of a paper's own.", got=which, allowed=["quick"]
            )
        return self.paper


class Recipes(Mapping[str, Recipe]):
    """All recipes by name: ours, and those in packages that third parties name as entry points `altprop.recipes`."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._files())

    def __len__(self) -> int:
        return len(self._files())

    def __getitem__(self, name: str) -> Recipe:
        return parse_model(Recipe, json.loads(self._files()[name].read_text(encoding="utf-8")))

    def find(self, name: str) -> Recipe:
        """Raises SpecError with the known names."""
        if name not in self:
            known = list(self)
            detail = f"There is no recipe {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
            raise SpecError("#/recipe", detail, got=name, allowed=known)
        return self[name]

    @staticmethod
    def _files() -> dict[str, Any]:
        found = {Path(each.name).stem: each for each in files(__name__).iterdir() if each.name.endswith(".json")}
        for entry in entry_points(group="altprop.recipes"):
            for each in files(entry.value).iterdir():
                if each.name.endswith(".json"):
                    found.setdefault(Path(each.name).stem, each)
        return dict(sorted(found.items()))


RECIPES = Recipes()
