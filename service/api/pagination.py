"""Pages of a list, by cursor: the place after the last row shown, so that rows added meanwhile shift nothing.

Sorted by one field and then by id, and continued from both. (REST framework's own cursor counts rows within equal
values, stops counting at 1,000, and hands its position to the database unchecked.) A cursor is signed together with
its order: one that was made up, or belongs to another order, is refused.
"""

from collections.abc import Sequence
from typing import Any

from django.core import signing
from django.db.models import Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from service.api.problem import InvalidParameter, ParameterError
from trainers.spec import did_you_mean

USUAL_LIMIT, LARGEST_LIMIT = 50, 500


class CursorPages(BasePagination):
    """`?limit=`, `?order=` and `?cursor=`; views name their `order_fields`, never null, and the `usual_order`."""

    parameters = ("limit", "order", "cursor")

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self._here = request.build_absolute_uri()
        self._limit = _limit(request)
        self._order = _order(request, view)
        rows = list(self._after(queryset, request.query_params.get("cursor"))[: self._limit + 1])
        self._more, page = len(rows) > self._limit, rows[: self._limit]
        self._last = page[-1] if page else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        following = None
        if self._more and self._last is not None:
            following = replace_query_param(self._here, "cursor", self._cursor(self._last))
        return Response({"next": following, "results": data})

    def _after(self, queryset: QuerySet[Any], cursor: str | None) -> QuerySet[Any]:
        falling, field = self._order.startswith("-"), self._order.lstrip("-")
        ordered = queryset.order_by(self._order, "-pk" if falling else "pk")
        if cursor is None:
            return ordered
        value, key = self._place(cursor)
        beyond = "lt" if falling else "gt"
        # The first condition says nothing new, but lets an index on the field be used.
        return ordered.filter(
            Q(**{f"{field}__{beyond}e": value}), Q(**{f"{field}__{beyond}": value}) | Q(**{f"pk__{beyond}": key})
        )

    def _signer(self) -> signing.Signer:
        return signing.Signer(salt=f"cursor {self._order}")

    def _cursor(self, row: Model) -> str:
        value = getattr(row, self._order.lstrip("-"))
        return self._signer().sign_object([value if isinstance(value, int) else str(value), str(row.pk)])

    def _place(self, cursor: str) -> tuple[Any, Any]:
        try:
            value, key = self._signer().unsign_object(cursor)
        except signing.BadSignature:
            detail = f"This cursor is none that the service gave for order={self._order}. Start again without it."
            raise InvalidParameter.of([ParameterError("cursor", detail, cursor)]) from None
        return value, key

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """For the OpenAPI document."""
        limit = {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": USUAL_LIMIT}
        order = {"type": "string", "enum": orders(view), "default": view.usual_order}
        return [
            _parameter("limit", limit, "Rows on a page."),
            _parameter("order", order, "What to sort by; - for falling."),
            _parameter("cursor", {"type": "string"}, "Where to go on: taken from `next` of the page before."),
        ]


def orders(view: Any) -> list[str]:
    """Values that `?order=` takes."""
    fields: Sequence[str] = view.order_fields
    return [sign + field for field in fields for sign in ("", "-")]


def _limit(request: Request) -> int:
    sent = request.query_params.get("limit")
    if sent is None:
        return USUAL_LIMIT
    if not (sent.isascii() and sent.isdigit() and len(sent) < 10 and 1 <= int(sent) <= LARGEST_LIMIT):
        detail = f"limit must be a whole number from 1 to {LARGEST_LIMIT}; got {sent[:80]!r}."
        raise InvalidParameter.of([ParameterError("limit", detail, sent, (f"1 to {LARGEST_LIMIT}",))])
    return int(sent)


def _order(request: Request, view: Any) -> str:
    sent = request.query_params.get("order", view.usual_order)
    known = orders(view)
    if sent not in known:
        detail = f"order must be one of: {', '.join(known)}; got {sent[:80]!r}.{did_you_mean(sent, known)}"
        raise InvalidParameter.of([ParameterError("order", detail, sent, tuple(known))])
    return str(sent)


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
