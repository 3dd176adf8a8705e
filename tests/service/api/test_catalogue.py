"""What a job can ask for: algorithms, networks, data sets and recipes, from the trainers' registry."""

import pytest

from service.api.catalogue import start_warming
from tests.service.api.conftest import SPEC, Person
from trainers import list_algorithms, list_datasets, list_networks
from trainers.recipes import RECIPES

KINDS = {
    "algorithms": list_algorithms,
    "networks": list_networks,
    "datasets": list_datasets,
    "recipes": lambda: list(RECIPES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_the_registry_is_listed_and_described(alice: Person, kind: str) -> None:
    results = alice.get(kind).json()["results"]
    assert [one["name"] for one in results] == KINDS[kind]()
    for one in results:
        assert alice.get(f"{kind}/{one['name']}").json() == one


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_404_with_the_known_ones(alice: Person, kind: str) -> None:
    known = KINDS[kind]()[0]
    answer = alice.get(f"{kind}/{known}x")
    assert answer.status_code == 404
    assert f"Did you mean '{known}'?" in answer.json()["detail"]


def test_hyperparameters_come_as_a_json_schema(alice: Person) -> None:
    schema = alice.get("algorithms/backprop").json()["hyperparameters"]
    assert schema["properties"]["learning_rate"]["exclusiveMinimum"] == 0


def test_properties_come_with_their_reasons(alice: Person) -> None:
    properties = alice.get("algorithms/backprop").json()["properties"]
    assert properties["weight_transport"]["answer"] == "yes"
    assert properties["weight_transport"]["reason"]


def test_the_recipes_can_be_submitted_as_they_are(alice: Person) -> None:
    for recipe in alice.get("recipes").json()["results"]:
        for spec in recipe["quick"]["arms"].values():
            answer = alice.post("jobs?dry_run=true", spec)
            assert answer.status_code == 200, (recipe["name"], answer.content)


def test_unchanged_lists_are_304(alice: Person) -> None:
    etag = alice.get("algorithms").headers["ETag"]
    assert alice.get("algorithms", if_none_match=etag).status_code == 304


def test_warming_leaves_nothing_for_the_first_job_to_load(alice: Person) -> None:
    start_warming().join(timeout=60)
    assert alice.post("jobs?dry_run=true", SPEC).status_code == 200
