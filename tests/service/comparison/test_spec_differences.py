"""Only what differs, each at its JSON pointer."""

from typing import Any

import pytest

from service.comparison.spec_differences import spec_differences


def found(*specs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each.pointer: each.values for each in spec_differences({str(place): s for place, s in enumerate(specs)})}


def test_equal_specs_differ_nowhere() -> None:
    spec = {"algorithm": "backprop", "network": {"hidden": [8, 8]}, "training": {"seed": None}}
    assert found(spec, dict(spec), dict(spec)) == {}


def test_what_differs_stands_in_the_order_of_the_specs() -> None:
    first = {"algorithm": "backprop", "network": {"hidden": [8, 8], "kind": "mlp"}, "training": {"seed": 1}}
    second = {"algorithm": "frozen", "network": {"hidden": [8], "kind": "mlp"}, "training": {"seed": 1}}
    assert list(found(first, second).items()) == [
        ("/algorithm", {"0": "backprop", "1": "frozen"}),
        ("/network/hidden", {"0": [8, 8], "1": [8]}),
    ]


def test_a_place_that_a_spec_lacks_differs_from_null() -> None:
    assert found({"a": {"x": None}}, {"a": {}}, {"a": {"x": None}}) == {
        "/a/x": {"0": None, "2": None},
        "/a": {"1": {}},
    }


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ("1", 1), (None, False), ([1], [True])])
def test_types_count(one: Any, other: Any) -> None:
    assert list(found({"x": one}, {"x": other})) == ["/x"]


def test_keys_are_escaped_as_rfc_6901_asks() -> None:
    assert list(found({"a/b": {"c~d": 1}}, {"a/b": {"c~d": 2}})) == ["/a~1b/c~0d"]


def test_an_object_in_the_place_of_a_value_differs() -> None:
    assert found({"x": 1}, {"x": {"y": 1}}) == {"/x": {"0": 1}, "/x/y": {"1": 1}}
