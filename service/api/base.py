"""What all views of the API share: strict JSON in, JSON out, a token or a session, rate limits, strict parameters."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib.auth.models import User
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from service.accounts.authentication import TokenAuthentication
from service.api.negotiation import JsonAccepted
from service.api.parser import StrictJSONParser
from service.api.problem import ApiError, HeaderError
from service.api.query import NoQuery, Query, refuse_unknown
from service.api.throttling import RequestRate


class LengthRequired(ApiError):
    """A body whose length is not said beforehand, which the web process would read as empty."""

    status, code, title = 411, "length-required", "The body's length is missing"


class ApiView(APIView):
    """Base of the views."""

    parser_classes: Sequence[Any] = (StrictJSONParser,)
    renderer_classes: Sequence[Any] = (JSONRenderer,)
    content_negotiation_class = JsonAccepted
    authentication_classes: Sequence[Any] = (TokenAuthentication, SessionAuthentication)
    permission_classes: Sequence[Any] = (IsAuthenticated,)
    throttle_classes: Sequence[Any] = (RequestRate,)

    query: ClassVar[type[Query]] = NoQuery
    """Parameters that the address takes."""
    queries: ClassVar[dict[str, type[Query]]] = {}
    """The same by action, for view sets."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _refuse_unsaid_length(request)
        refuse_unknown(request.query_params, self.known_parameters())

    def known_parameters(self) -> set[str]:
        """Names that may stand in the query."""
        return set(self.query_model().model_fields)

    def query_model(self) -> type[Query]:
        """The parameters of the action at hand."""
        return self.queries.get(getattr(self, "action", None) or "", self.query)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault("Cache-Control", "private, no-cache")  # ask again, with the ETag where there is one
        return answer


def signed_in(request: Request) -> User:
    """Who asks. Views that are not open to all have made sure that somebody does."""
    assert isinstance(request.user, User)
    return request.user


def object_in(request: Request) -> dict[str, Any]:
    """The request's body, which the parser has made sure is an object; {} where there is none."""
    return dict(request.data)


class ApiViewSet(ViewSetMixin, ApiView):
    """Base of the view sets."""


def _refuse_unsaid_length(request: Request) -> None:
    if request.META.get("HTTP_TRANSFER_ENCODING") and not request.META.get("CONTENT_LENGTH"):
        detail = "Send the body with a Content-Length; chunked bodies are not taken here."
        raise LengthRequired(detail, errors=[HeaderError("Content-Length", detail)])
