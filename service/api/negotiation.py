"""What an answer is made into: JSON, or a file that is what it is; errors are problem+json in any case."""

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from service.api.problem import MEDIA_TYPE


class JsonAccepted(BaseContentNegotiation):
    """JSON for every client that takes JSON, problem+json or anything; NotAcceptable for others."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        return next((one for one in parsers if media_type_matches(one.media_type, request.content_type)), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        first = next(iter(renderers))
        accepted = [kind.split(";")[0].strip() for kind in request.META.get("HTTP_ACCEPT", "*/*").split(",")]
        if not {"*/*", "application/*", first.media_type, MEDIA_TYPE} & set(accepted):
            raise NotAcceptable
        return first, first.media_type or ""


class AnyAccepted(JsonAccepted):
    """Whatever `Accept` says: for addresses whose success is a file."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        first = next(iter(renderers))
        return first, first.media_type or ""
