"""Strict JSON in: what RFC 7493 (I-JSON) asks for, and an object at the top.

Python's own `json`, and so stock DRF, takes NaN, Infinity, 1e999 (as infinity), duplicate keys (the last one wins),
lone surrogates and NUL (which Postgres cannot store), and answers 100,000 nested lists with a RecursionError. All of
these are refused here, with a pointer to the place:

    {"training": {"epochs": NaN}}  →  400, "#/training/epochs", got "NaN", allowed "a finite number"

The decoder cannot say where it stands in the document. It therefore leaves a `_Refused` in the place of whatever is
wrong, and a walk over the decoded document finds them all with their paths.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from service.api.problem import ApiError
from trainers.errors import FieldError
from trainers.spec import pointer_to, shown

MOST_BYTES = 1024 * 1024
DEEPEST = 64
LARGEST_INTEGER = 2**53 - 1
"""Beyond it, most readers of JSON round (RFC 7493 section 2.2)."""
_LONGEST_INTEGER = len(str(LARGEST_INTEGER)) + 1  # with its sign
_TEXT = "text without NUL and without lone surrogates"

# One string or one bracket at a time. Possessive, and with an optional closing quote: it never goes back, so that
# an unclosed string costs no more than a closed one.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")

Path = tuple[str | int, ...]


class MalformedJSON(ApiError):
    """The body is not JSON, or is JSON that different programs read differently."""

    code, title = "malformed-json", "The body is not acceptable JSON"

    @classmethod
    def at(cls, errors: list[FieldError]) -> "MalformedJSON":
        return cls(" ".join(error.detail for error in errors[:5]), errors=errors)


class BodyTooLarge(ApiError):
    """More bytes than a body may have."""

    status, code, title = 413, "body-too-large", "The body is too large"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in a decoded document where something must not be."""

    detail: str
    got: str
    allowed: str


class StrictJSONParser(BaseParser):
    """The one parser of the API."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The object in the body. Raises BodyTooLarge, MalformedJSON."""
        limit = getattr(settings, "ALTPROP_MOST_BODY_BYTES", MOST_BYTES)
        request = (parser_context or {}).get("request")
        announced = request.META.get("CONTENT_LENGTH") if request is not None else None
        if announced and announced.isdigit() and int(announced) > limit:
            raise _too_large(limit, int(announced))  # without reading a byte of it
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise _too_large(limit, None)
        return parse_object(body)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises MalformedJSON that names each place that is wrong."""
    text = _decoded(body)
    _refuse_deep_nesting(text)
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        near = text[max(error.pos - 20, 0) : error.pos + 20]
        raise MalformedJSON.at(
            [
                FieldError(
                    "#",
                    f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
                    near,
                    ("one JSON object",),
                )
            ]
        ) from None
    found = [
        FieldError(pointer_to(path), f"{_named(path)}: {refused.detail}", refused.got, (refused.allowed,))
        for path, refused in _refusals(document, ())
    ]
    if found:
        raise MalformedJSON.at(found)
    if not isinstance(document, dict):
        raise MalformedJSON.at(
            [
                FieldError(
                    "#",
                    f"The body must be one JSON object, such as {{…}}; got {_kind(document)}: {shown(document)}.",
                    document,
                    ("object",),
                )
            ]
        )
    return document


def _too_large(limit: int, announced: int | None) -> BodyTooLarge:
    came = f"{announced:,} bytes" if announced else f"more than {limit:,} bytes"
    return BodyTooLarge(
        f"The body has {came}; at most {limit:,} are taken here.",
        errors=[FieldError("#", f"At most {limit:,} bytes.", announced, (limit,))],
    )


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8: byte {error.start} is {body[error.start : error.start + 1]!r}."
        got = body[error.start : error.start + 8].hex(" ")
        raise MalformedJSON.at([FieldError("#", detail, got, ("UTF-8",))]) from None


def _refuse_deep_nesting(text: str) -> None:
    """Before decoding, since the decoder recurses. Brackets within strings do not count."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        match match[0][0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
        if depth > DEEPEST:
            detail = f"The body nests lists or objects more than {DEEPEST} deep, first at character {match.start()}."
            raise MalformedJSON.at([FieldError("#", detail, f"depth > {DEEPEST}", (f"depth <= {DEEPEST}",))])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            value = _Refused("this key stands twice in its object. Which one counts?", shown(key), "each key once")
        members[key] = value
    return members


def _constant(name: str) -> _Refused:
    return _Refused(f"{name} is not JSON.", name, "a finite number")


def _float(digits: str) -> float | _Refused:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        return _Refused(f"{_cut(digits)} is beyond what a 64-bit number holds.", _cut(digits), "a finite number")
    return number


def _integer(digits: str) -> int | _Refused:
    if len(digits) <= _LONGEST_INTEGER and abs(number := int(digits)) <= LARGEST_INTEGER:
        return number
    return _Refused(
        f"{_cut(digits)} is an integer that many programs cannot hold exactly.",
        _cut(digits),
        f"an integer from -{LARGEST_INTEGER} to {LARGEST_INTEGER}",
    )


def _refusals(value: Any, path: Path) -> Iterator[tuple[Path, _Refused]]:
    """Everything refused in a decoded document, in its order. No deeper than DEEPEST."""
    if isinstance(value, _Refused):
        yield path, value
    elif isinstance(value, str):
        if bad := _bad_text(value):
            yield path, bad
    elif isinstance(value, dict):
        for key, member in value.items():
            if bad := _bad_text(key):
                yield (*path, key), bad
            yield from _refusals(member, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _refusals(item, (*path, index))


def _bad_text(text: str) -> _Refused | None:
    if "\x00" in text:
        return _Refused("text must not hold NUL (\\u0000).", ascii(text), _TEXT)
    if surrogate := _SURROGATE.search(text):
        escape = f"\\u{ord(surrogate[0]):04x}"
        return _Refused(f"text must not hold half of a surrogate pair ({escape}).", ascii(text), _TEXT)
    return None


def _named(path: Path) -> str:
    return ".".join(str(part) for part in path) or "the body"


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _cut(digits: str) -> str:
    return digits if len(digits) <= 40 else f"{digits[:20]}… ({len(digits)} characters)"
