"""How every error of the API looks: problem+json (RFC 9457) that names the field, what came and what is allowed.

    {"type": "/errors/invalid-spec", "title": "The job cannot be trained as asked", "status": 400,
     "detail": "There is no dataset 'minst'. Did you mean 'mnist'?",
     "errors": [{"pointer": "#/dataset", "detail": "…", "got": "minst", "allowed": ["mnist", "digits"]}]}

`ApiError` is what code here raises; errors.py turns it, and everybody else's exceptions, into this shape.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, Field, JsonValue

from trainers.errors import FieldError
from trainers.spec import shown

MEDIA_TYPE = "application/problem+json"
LONGEST_GOT = 400
"""Characters of JSON; a longer value is shown cut, as text."""
LONGEST_TEXT = 2_000
MOST_ERRORS = 50


@dataclass(frozen=True, slots=True)
class ParameterError:
    """One wrong parameter of the URL's query."""

    parameter: str
    detail: str
    got: Any = None
    allowed: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class HeaderError:
    """One wrong header of the request."""

    header: str
    detail: str
    got: Any = None
    allowed: tuple[Any, ...] | None = None


WrongPart = FieldError | ParameterError | HeaderError


class ProblemField(BaseModel):
    """One wrong part of a request: `pointer` into the body, or `parameter` of the query, or `header`."""

    pointer: str | None = Field(default=None, description="RFC 6901 pointer into the body, as a URI fragment")
    parameter: str | None = Field(default=None, description="name of the query parameter")
    header: str | None = Field(default=None, description="name of the header")
    detail: str = Field(description="what is wrong and what would be right")
    got: JsonValue = Field(default=None, description="what came; long values are cut")
    allowed: list[JsonValue] | None = Field(default=None, description="what may stand there, where it can be listed")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="stable name of this kind of error, e.g. /errors/invalid-spec")
    title: str = Field(description="what this kind of error is")
    status: int
    detail: str = Field(description="what happened this time, and what to do about it")
    errors: list[ProblemField] = Field(default_factory=list)
    incident: str | None = Field(default=None, description="of a 500: finds the traceback in the service's log")


class ApiError(Exception):
    """An answer other than success. Subclasses say which; `errors` name the parts of the request that are wrong."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "The request cannot be understood"

    def __init__(
        self, detail: str, *, errors: Iterable[WrongPart] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class InvalidParameter(ApiError):
    """The URL's query asks for something that does not exist."""

    code, title = "invalid-parameter", "A query parameter is wrong"

    @classmethod
    def of(cls, errors: Iterable[ParameterError]) -> "InvalidParameter":
        parts = tuple(errors)
        return cls(" ".join(part.detail for part in parts), errors=parts)


class Conflict(ApiError):
    """The request is right, but not now."""

    status, code, title = 409, "conflict", "That is not possible now"


def problem(
    *,
    code: str,
    title: str,
    status: int,
    detail: str,
    errors: Iterable[WrongPart] = (),
    incident: str | None = None,
) -> dict[str, Any]:
    """The body of an error, ready for JSON whatever the request held."""
    body: dict[str, Any] = {
        "type": f"/errors/{code.replace('_', '-')}",
        "title": title,
        "status": status,
        "detail": printable(detail),
        "errors": [_part(error) for error in list(errors)[:MOST_ERRORS]],
    }
    if incident is not None:
        body["incident"] = incident
    return body


def printable(text: str) -> str:
    """Text that can be encoded, of a length for people: lone surrogates and NUL become their escapes."""
    text = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _part(error: WrongPart) -> dict[str, Any]:
    match error:
        case FieldError():
            place = {"pointer": printable(error.pointer)}
        case ParameterError():
            place = {"parameter": printable(error.parameter)}
        case HeaderError():
            place = {"header": error.header}
    part = {**place, "detail": printable(error.detail), "got": _jsonable(error.got)}
    if error.allowed is not None:
        part["allowed"] = [_jsonable(value) for value in error.allowed]
    return part


def _jsonable(value: Any) -> Any:
    """The value itself where it is short, plain JSON; else how a person would read it."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return printable(shown(value))
    return value if len(text) <= LONGEST_GOT and "\\u0000" not in text else printable(shown(value))
