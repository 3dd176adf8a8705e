"""The OpenAPI 3.1 document: bodies and answers from pydantic models, errors as problem+json, tokens, cursor pages.

`answers(JobShown, 404)` is what views hand to `extend_schema(responses=…)`.
"""

from functools import cache
from typing import Any

from drf_spectacular.drainage import set_override
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularSwaggerView
from pydantic import BaseModel
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiView
from service.api.etag import tagged
from service.api.problem import MEDIA_TYPE, Problem

EVERYWHERE = (400, 401, 406, 429, 503)
SAID = {
    400: "Something in the request is wrong; `errors` names each part.",
    401: "No token, or one that opens nothing.",
    403: "Not for this user.",
    404: "There is no such thing, or it belongs to somebody else.",
    406: "The Accept header does not allow JSON.",
    409: "Not possible in the present state; `detail` says what to wait for.",
    411: "The body's length is missing.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    416: "The range is not in the file.",
    422: "The Idempotency-Key was used for another request.",
    429: "Too many requests; Retry-After says when to go on.",
    503: "Something that the service needs is away.",
}
BODY = (411, 413, 415)
"""What may be wrong with a body, beyond its content."""

Answers = dict[int | tuple[int, str], Any]


def answers(shape: Any, *problems: int, status: int = 200, public: bool = False) -> Answers:
    """`status` with a body of this shape (None: no body), and every problem that may come instead."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        set_override(shape, "many", False)  # our lists say themselves how they hold their rows
    success = OpenApiResponse(description="No content") if shape is None else shape
    return {status: success, **refusals(*problems, public=public)}


def refusals(*problems: int, public: bool = False) -> Answers:
    """These and those that every address has."""
    numbers = sorted({*EVERYWHERE, *problems} - ({401} if public else set()))
    return {(number, MEDIA_TYPE): OpenApiResponse(Problem, description=SAID[number]) for number in numbers}


class TokenScheme(OpenApiAuthenticationExtension):
    """How `Authorization: Token …` stands in the document."""

    target_class = "service.accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token …`, with a token from POST /api/v1/tokens, the admin panel or credentials.json.",
        }


class SchemaView(ApiView):
    """The OpenAPI document of this API."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return tagged(request, document())


class DocsView(SpectacularSwaggerView):
    """The document as a page on which requests can be tried; works without a network."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    url_name = "api:schema"


@cache
def document() -> dict[str, Any]:
    """Made once a process: it takes a second, and only a new release changes it."""
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made
