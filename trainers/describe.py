"""Everything known of an algorithm, a network, a data set or a recipe, as JSON-ready facts."""

from dataclasses import asdict
from typing import Any

from trainers.errors import SpecError
from trainers.recipes import RECIPES
from trainers.registry import ALGORITHMS, DATASETS, NETWORKS
from trainers.spec import did_you_mean


def describe(name: str) -> dict[str, Any]:
    """Raises SpecError for a name that nothing has."""
    if name in ALGORITHMS:
        return describe_algorithm(name)
    if name in NETWORKS:
        return describe_network(name)
    if name in DATASETS:
        return describe_dataset(name)
    if name in RECIPES:
        return describe_recipe(name)
    known = [*ALGORITHMS, *NETWORKS, *DATASETS, *RECIPES]
    raise SpecError("#/name", f"Nothing is called {name!r}.{did_you_mean(name, known)}", got=name, allowed=known)


def describe_algorithm(name: str) -> dict[str, Any]:
    """Title, hyperparameters as JSON Schema, and the properties of its default variant with their reasons."""
    algorithm = ALGORITHMS[name]
    hyperparameters = algorithm.Hyperparameters()
    properties = algorithm.properties(hyperparameters, NETWORKS["mlp"].Options())
    return {
        "kind": "algorithm",
        "name": name,
        "summary": _first_paragraph(algorithm),
        "hyperparameters": algorithm.Hyperparameters.model_json_schema(),
        "properties": {question: asdict(answer) for question, answer in properties.questions().items()},
        "extra_state": properties.extra_state,
        "trains": sorted(properties.trains),
    }


def describe_network(name: str) -> dict[str, Any]:
    """Its options as JSON Schema."""
    network = NETWORKS[name]
    return {
        "kind": "network",
        "name": name,
        "summary": _first_paragraph(network),
        "options": network.Options.model_json_schema(),
    }


def describe_dataset(name: str) -> dict[str, Any]:
    """Its sizes, source, licence, files, and options as JSON Schema."""
    facts: dict[str, Any] = DATASETS[name].describe()
    return {**facts, "kind": "dataset", "task": facts["kind"]}


def describe_recipe(name: str) -> dict[str, Any]:
    """The recipe as it stands in its file, and its kind."""
    return {"kind": "recipe", **RECIPES[name].model_dump(mode="json", exclude_unset=True)}


def _first_paragraph(thing: Any) -> str:
    text = (thing.__doc__ or "").strip()
    return " ".join(text.split("\n\n")[0].split())
