"""Parameters of a URL's query, as strict as the body: unknown names and wrong values are errors, never ignored.

class MetricsQuery(Query):
    points: int = Field(default=1000, ge=1, le=1000)

query = parse_query(MetricsQuery, request)
"""

from collections.abc import Iterable
from typing import Any, TypeVar, get_origin

from drf_spectacular.utils import OpenApiParameter
from pydantic import BaseModel, ConfigDict, ValidationError
from rest_framework.request import Request

from service.api.problem import InvalidParameter, ParameterError
from trainers.errors import FieldError
from trainers.spec import did_you_mean, field_errors


class Query(BaseModel):
    """Base of the parameters of one address. They come as text, so "5" is a 5 here."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NoQuery(Query):
    """Of addresses that take no parameters."""


Q = TypeVar("Q", bound=Query)


def parse_query(model: type[Q], request: Request) -> Q:
    """The parameters of this request. Raises InvalidParameter that names each wrong one."""
    sent = request.query_params
    refuse_unknown(sent, model.model_fields)
    values: dict[str, Any] = {}
    for name in sent:
        is_list = get_origin(model.model_fields[name].annotation) is list
        values[name] = sent.getlist(name) if is_list else sent[name]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidParameter.of(_parameter(found) for found in field_errors(model, error)) from None


def refuse_unknown(sent: Iterable[str], known: Iterable[str]) -> None:
    """Raises InvalidParameter for names that this address does not know."""
    known = sorted(known)
    wrong = [name for name in sent if name not in known]
    if wrong:
        raise InvalidParameter.of(
            ParameterError(
                name,
                f"{name[:80]!r} is not a parameter of this address.{did_you_mean(name, known)} "
                + (f"Known here: {', '.join(known)}." if known else "It takes none."),
                name,
                tuple(known),
            )
            for name in wrong
        )


def parameters(model: type[Query]) -> list[OpenApiParameter]:
    """The same parameters for the OpenAPI document."""
    schema = model.model_json_schema()
    return [
        OpenApiParameter(
            name,
            _described(schema["properties"][name]),
            description=field.description or "",
            required=field.is_required(),
            many=False,
        )
        for name, field in model.model_fields.items()
    ]


def _parameter(found: FieldError) -> ParameterError:
    name = found.pointer.removeprefix("#/").split("/")[0]
    return ParameterError(name, found.detail, found.got, found.allowed)


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's own schema, without what the parameter says already; absence is not spelt `null` in a URL."""
    plain = {key: value for key, value in schema.items() if key not in ("title", "description", "anyOf")}
    if choices := [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]:
        plain = {**plain, **choices[0]}
    if plain.get("default", 0) is None:
        del plain["default"]
    return plain
