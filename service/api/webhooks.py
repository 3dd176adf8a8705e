"""`/webhooks`: where messages about jobs are posted. Its messages are in webhooks_deliveries.py."""

from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.visibility import visible_to
from service.api.base import ApiViewSet, object_in
from service.api.etag import tagged
from service.api.idempotency import once
from service.api.job_parts import User, parsed_id
from service.api.jobs import IF_NONE_MATCH, KEY
from service.api.openapi import BODY, answers
from service.api.pagination import CursorPages
from service.api.problem import ApiError, Conflict
from service.api.webhooks_shape import WebhookList, WebhookShown, WebhookWithSecret
from service.webhooks import endpoints
from service.webhooks.errors import TooManyEndpoints
from service.webhooks.models import WebhookEndpoint
from service.webhooks.presentation import present_endpoint
from service.webhooks.request import WebhookChange, WebhookRequest
from trainers.errors import SpecError
from trainers.spec import StrictModel, parse_model

Model = TypeVar("Model", bound=StrictModel)


class WebhookInvalid(ApiError):
    """A body that describes no webhook."""

    code, title = "invalid-webhook", "The webhook cannot be as asked"


class WebhookViewSet(ApiViewSet, GenericAPIView[WebhookEndpoint]):
    """Where messages about jobs are posted."""

    queryset = WebhookEndpoint.objects.all()
    pagination_class = CursorPages
    order_fields, usual_order = ("created_at", "id"), "-created_at"

    def get_queryset(self) -> "QuerySet[WebhookEndpoint]":
        return WebhookEndpoint.objects.select_related("owner").filter(visible_to(self.request.user))

    def known_parameters(self) -> set[str]:
        return set(CursorPages.parameters) if self.action == "list" else super().known_parameters()

    @extend_schema(summary="List webhooks", responses=answers(WebhookList))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or ()
        return self.get_paginated_response([_shown(endpoint, request) for endpoint in page])

    @extend_schema(
        summary="Make a webhook",
        description="From now on each move of a job that you may see is posted to `url`, signed with the secret that "
        "is in this answer and in no other.",
        request=WebhookRequest,
        parameters=[KEY],
        responses=answers(WebhookWithSecret, 409, 422, *BODY, status=201),
    )
    def create(self, request: Request) -> Response:
        def make() -> Response:
            wanted = _parsed(WebhookRequest, request)
            try:
                made = endpoints.create_endpoint(request.user, wanted, service_url=request.build_absolute_uri("/"))
            except TooManyEndpoints as refusal:
                raise Conflict(refusal.sentence) from None
            return _with_secret(made, request, status=201)

        return once(request, make)

    @extend_schema(
        summary="Show a webhook", parameters=[IF_NONE_MATCH], responses={**answers(WebhookShown, 404), 304: None}
    )
    def retrieve(self, request: Request, id: str) -> Response:
        return tagged(request, _shown(find_endpoint(request.user, id), request))

    @extend_schema(
        summary="Change a webhook",
        description="A key that is left out stays as it is. `enabled: true` brings one back that was disabled.",
        request=WebhookChange,
        responses=answers(WebhookShown, 404, *BODY),
    )
    def partial_update(self, request: Request, id: str) -> Response:
        endpoint = find_endpoint(request.user, id)
        return Response(_shown(endpoints.change_endpoint(endpoint, _parsed(WebhookChange, request)), request))

    @extend_schema(summary="Delete a webhook and its messages", responses=answers(None, 404, status=204))
    def destroy(self, request: Request, id: str) -> Response:
        endpoints.delete_endpoint(find_endpoint(request.user, id))
        return Response(status=204)

    @extend_schema(
        summary="Give a webhook a new secret",
        description="For 24 hours each message is signed with the former one as well.",
        request=None,
        parameters=[KEY],
        responses=answers(WebhookWithSecret, 404, 422),
    )
    def rotate_secret(self, request: Request, id: str) -> Response:
        endpoint = find_endpoint(request.user, id)
        return once(request, lambda: _with_secret(endpoints.rotate_secret(endpoint), request))


def find_endpoint(user: User, id: str) -> WebhookEndpoint:
    """The user's webhook of that id; somebody else's is as unknown as none. Raises Http404."""
    mine = WebhookEndpoint.objects.select_related("owner").filter(visible_to(user), pk=parsed_id(id, "webhook"))
    endpoint: WebhookEndpoint | None = mine.first()
    if endpoint is None:
        raise Http404(f"There is no webhook {id} that you may see.")
    return endpoint


def _parsed(model: type[Model], request: Request) -> Model:
    try:
        return parse_model(model, object_in(request))
    except SpecError as error:
        raise WebhookInvalid(str(error), errors=error.errors) from None


def _shown(endpoint: WebhookEndpoint, request: Request) -> dict[str, Any]:
    named = {"id": endpoint.pk}
    return present_endpoint(endpoint, str(reverse("api:webhook-deliveries", kwargs=named, request=request)))


def _with_secret(endpoint: WebhookEndpoint, request: Request, *, status: int = 200) -> Response:
    here = str(reverse("api:webhook", kwargs={"id": endpoint.pk}, request=request))
    body = {**_shown(endpoint, request), "secret": endpoint.secret}
    return Response(body, status=status, headers={"Location": here, "Cache-Control": "no-store"})
