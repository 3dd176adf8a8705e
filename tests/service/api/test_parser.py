"""The strict parser: what it takes, what it refuses, and the pointer, value and remedy that it names."""

import json
import time

import pytest

from service.api.parser import DEEPEST, MalformedJSON, parse_object


def refused(body: bytes | str) -> MalformedJSON:
    with pytest.raises(MalformedJSON) as caught:
        parse_object(body.encode() if isinstance(body, str) else body)
    return caught.value


def test_an_ordinary_object_is_taken_as_it_is() -> None:
    body = {"a": [1, -2.5, True, None, "ä\n\U0001f600"], "b": {"c": {}}, "d": 2**53 - 1}
    assert parse_object(json.dumps(body).encode()) == body


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert parse_object(rb'{"name": "\ud83d\ude00"}') == {"name": "\U0001f600"}


@pytest.mark.parametrize(
    ("body", "pointer", "got"),
    [
        ('{"training": {"epochs": NaN}}', "#/training/epochs", "NaN"),
        ('{"a": [0, Infinity]}', "#/a/1", "Infinity"),
        ('{"a": -Infinity}', "#/a", "-Infinity"),
        ('{"a": 1e999}', "#/a", "1e999"),
        ('{"a": -1e999}', "#/a", "-1e999"),
        ('{"a": 9007199254740992}', "#/a", "9007199254740992"),
        ('{"a": 1, "b": {"a": 2, "a": 3}}', "#/b/a", '"a"'),
        ('{"a/b~c": NaN}', "#/a~1b~0c", "NaN"),
        (r'{"name": "a\u0000b"}', "#/name", r"'a\x00b'"),
        (r'{"tags": ["\ud800"]}', "#/tags/0", r"'\ud800'"),
        (r'{"tags": ["\udc00\ud800"]}', "#/tags/0", r"'\udc00\ud800'"),
    ],
)
def test_what_programs_read_differently_is_refused_in_its_place(body: str, pointer: str, got: str) -> None:
    (error,) = refused(body).errors
    assert (error.pointer, error.got) == (pointer, got)
    assert error.allowed


def test_keys_are_held_to_the_same_rules_as_values() -> None:
    (error,) = refused(rb'{"\u0000": 1}').errors
    assert "NUL" in error.detail


def test_all_wrong_places_are_named_at_once() -> None:
    errors = refused('{"a": NaN, "b": [1e999], "c": 1, "c": 2}').errors
    assert [error.pointer for error in errors] == ["#/a", "#/b/0", "#/c"]


@pytest.mark.parametrize("digits", [400, 5_000, 500_000])
def test_a_huge_integer_is_refused_and_shown_cut(digits: int) -> None:
    (error,) = refused('{"a": 1' + "0" * digits + "}").errors
    assert error.pointer == "#/a"
    assert len(error.got) < 60


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_100_000_nested_parts_are_refused_quickly(opening: str) -> None:
    started = time.perf_counter()
    error = refused('{"a":' + opening * 100_000)
    assert "deep" in error.detail
    assert time.perf_counter() - started < 1


def test_nesting_up_to_the_limit_is_taken_and_brackets_in_text_do_not_count() -> None:
    inner = DEEPEST - 1
    parse_object(('{"a":' + "[" * inner + "]" * inner + "}").encode())
    parse_object(json.dumps({"a": "[" * 1000 + '\\"[' * 1000}).encode())
    refused('{"a":' + "[" * DEEPEST + "]" * DEEPEST + "}")


def test_an_unclosed_string_costs_no_more_than_a_closed_one() -> None:
    started = time.perf_counter()
    refused('{"a": "' + '\\"' * 500_000)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("body", ["[]", '[{"algorithm": "backprop"}]', '"text"', "5", "true", "null"])
def test_only_an_object_may_stand_at_the_top(body: str) -> None:
    (error,) = refused(body).errors
    assert (error.pointer, error.got, error.allowed) == ("#", json.loads(body), ("object",))


@pytest.mark.parametrize("body", ["", "{", "{]", "{'a': 1}", '{"a": 1,}', '{"a": 01}', '{"a": 1} x', '\ufeff{"a": 1}'])
def test_what_is_not_json_is_refused_with_its_place(body: str) -> None:
    (error,) = refused(body).errors
    assert error.pointer == "#"
    assert "line 1" in error.detail


def test_bytes_that_are_not_utf_8_are_refused_with_their_place() -> None:
    (error,) = refused(b'{"a": "\xff"}').errors
    assert (error.pointer, error.got) == ("#", "ff 22 7d")
    assert "byte 7" in error.detail
