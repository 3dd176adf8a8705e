"""What a spec refuses, and what it says then."""

from typing import Any

import pytest

from trainers.errors import SpecError
from trainers.resolve import resolve
from trainers.spec import parse_spec

GOOD = {"algorithm": "backprop", "dataset": "digits"}


def refused(data: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as refusal:
        resolve(data)
    return {error.pointer: error.detail for error in refusal.value.errors}


def test_two_names_are_a_whole_spec() -> None:
    whole = resolve(GOOD)
    assert whole.network["kind"] == "mlp"
    assert whole.hyperparameters["optimizer"] == "adam"
    assert whole.training.seed is not None


def test_a_seed_left_out_is_drawn_and_differs() -> None:
    assert len({resolve(GOOD).training.seed for _ in range(5)}) > 1


def test_a_resolved_spec_read_from_json_is_the_same() -> None:
    whole = resolve(GOOD)
    assert resolve(parse_spec(whole.model_dump(mode="json"))) == whole


@pytest.mark.parametrize(
    ("change", "pointer", "says"),
    [
        ({"algorithm": "backprob"}, "#/algorithm", "Did you mean 'backprop'?"),
        ({"dataset": "digit"}, "#/dataset", "Did you mean 'digits'?"),
        ({"network": {"kind": "mpl"}}, "#/network/kind", "Did you mean 'mlp'?"),
        ({"network": {"kind": "mlp", "hiden": [3]}}, "#/network/hiden", "Did you mean 'hidden'?"),
        ({"network": {"kind": "mlp", "hidden": [0]}}, "#/network/hidden/0", "greater than or equal to 1"),
        ({"network": {"kind": 5}}, "#/network/kind", "must be a name"),
        ({"network": {"kind": "mlp", "activation": "relo"}}, "#/network/activation", "Did you mean 'relu'?"),
        ({"network": {"kind": "mlp", "hidden": [4, 4], "activation": ["relu", 5]}}, "#/network/activation/1", "one of"),
        ({"epochs": 5}, "#/epochs", "It belongs in training"),
        ({"trainin": {}}, "#/trainin", "Did you mean 'training'?"),
        ({"training": {"epochs": -1}}, "#/training/epochs", "greater than or equal to 1"),
        ({"training": {"epochs": True}}, "#/training/epochs", "valid integer"),
        ({"training": {"epochs": "5"}}, "#/training/epochs", "valid integer"),
        ({"training": {"target_value": float("nan")}}, "#/training/target_value", "finite"),
        ({"training": {"device": "gpu"}}, "#/training/device", "one of: auto, cpu, cuda"),
        ({"training": {"steps_per_epoch": 5}}, "#/training/steps_per_epoch", "not a stream"),
        ({"hyperparameters": {"learning_rate": 0}}, "#/hyperparameters/learning_rate", "greater than 0"),
        ({"hyperparameters": {"optimizer": "adm"}}, "#/hyperparameters/optimizer", "Did you mean 'adam'?"),
        ({"hyperparameters": []}, "#/hyperparameters", "dictionary"),
        ({"dataset_options": {"nonsense": 1}}, "#/dataset_options/nonsense", "not a known key"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(change: dict[str, Any], pointer: str, says: str) -> None:
    found = refused(GOOD | change)
    assert pointer in found
    assert says in found[pointer]


def test_a_value_that_fits_no_member_of_a_union_is_told_once() -> None:
    assert len(refused(GOOD | {"network": {"kind": "mlp", "activation": "relo"}})) == 1


def test_all_wrong_parts_are_told_at_once() -> None:
    assert set(refused({"algorithm": "x", "dataset": "y", "network": {"kind": "z"}})) == {
        "#/algorithm",
        "#/dataset",
        "#/network/kind",
    }


@pytest.mark.parametrize("data", [[1], "text", 5, None])
def test_what_is_not_an_object_is_refused(data: Any) -> None:
    assert "#" in refused(data)


def test_an_activation_without_derivative_is_refused_with_the_way_out() -> None:
    found = refused(GOOD | {"network": {"kind": "mlp", "activation": "sign"}})
    assert "derivative" in found["#/network/activation"]
    assert "difference_target_propagation" in found["#/network/activation"]
