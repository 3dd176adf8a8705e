"""`/webhooks/{id}/deliveries`: the messages of a webhook, what came of each; one sent again, or one for trial."""

from collections.abc import Callable
from typing import Literal
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from pydantic import Field
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.api.base import ApiViewSet
from service.api.idempotency import once
from service.api.job_parts import parsed_id
from service.api.jobs import KEY
from service.api.openapi import answers
from service.api.pagination import CursorPages
from service.api.problem import Conflict
from service.api.query import Query, parameters, parse_query
from service.api.webhooks import find_endpoint
from service.api.webhooks_shape import DeliveryList, DeliveryShown
from service.webhooks import outbox
from service.webhooks.errors import EndpointDisabled
from service.webhooks.events import EventType
from service.webhooks.models import STATES, WebhookDelivery, WebhookEndpoint
from service.webhooks.presentation import present_delivery


class DeliveriesQuery(Query):
    state: Literal["waiting", "delivered", "gave_up"] | None = Field(default=None, description="in this state")
    type: EventType | Literal["webhook.test"] | None = Field(default=None, description="of this type")
    job: UUID | None = Field(default=None, description="about this job")
    limit: str | None = None
    order: str | None = None
    cursor: str | None = None


_FILTERS = [each for each in parameters(DeliveriesQuery) if each.name not in CursorPages.parameters]


class DeliveryViewSet(ApiViewSet, GenericAPIView[WebhookDelivery]):
    """The messages of a webhook."""

    queryset = WebhookDelivery.objects.all()
    pagination_class = CursorPages
    order_fields, usual_order = ("queued_at", "id"), "-queued_at"
    queries = {"list": DeliveriesQuery}

    @extend_schema(summary="List a webhook's messages", parameters=_FILTERS, responses=answers(DeliveryList, 404))
    def list(self, request: Request, id: str) -> Response:
        asked = parse_query(DeliveriesQuery, request)
        found: QuerySet[WebhookDelivery] = WebhookDelivery.objects.filter(endpoint=find_endpoint(request.user, id))
        if asked.state is not None:
            found = found.filter(STATES[asked.state])
        if asked.type is not None:
            found = found.filter(type=asked.type)
        if asked.job is not None:
            found = found.filter(job=asked.job)
        return self.get_paginated_response([present_delivery(each) for each in self.paginate_queryset(found) or ()])

    @extend_schema(summary="Show a message", responses=answers(DeliveryShown, 404))
    def retrieve(self, request: Request, id: str, delivery: str) -> Response:
        return Response(present_delivery(_find(find_endpoint(request.user, id), delivery)))

    @extend_schema(
        summary="Send a message again",
        description="The same one, with the same `webhook-id`, delivered or not; it is tried for 72 hours.",
        request=None,
        responses=answers(DeliveryShown, 404, 409, status=202),
    )
    def redeliver(self, request: Request, id: str, delivery: str) -> Response:
        message = _find(find_endpoint(request.user, id), delivery)
        return _queued(lambda: outbox.send_again(message), request)

    @extend_schema(
        summary="Try a webhook",
        description="Sends it a `webhook.test`, whatever types it wants.",
        request=None,
        parameters=[KEY],
        responses=answers(DeliveryShown, 404, 409, 422, status=202),
    )
    def test(self, request: Request, id: str) -> Response:
        endpoint = find_endpoint(request.user, id)
        return once(request, lambda: _queued(lambda: outbox.send_test(endpoint), request))


def _find(endpoint: WebhookEndpoint, id: str) -> WebhookDelivery:
    """Raises Http404."""
    of_this = WebhookDelivery.objects.filter(endpoint=endpoint, pk=parsed_id(id, "message"))
    found: WebhookDelivery | None = of_this.select_related("endpoint").first()
    if found is None:
        raise Http404(f"This webhook has no message {id}.")
    return found


def _queued(queue: Callable[[], WebhookDelivery], request: Request) -> Response:
    try:
        queued = queue()
    except EndpointDisabled as refusal:
        raise Conflict(refusal.sentence) from None
    named = {"id": queued.endpoint_id, "delivery": queued.pk}
    location = str(reverse("api:webhook-delivery", kwargs=named, request=request))
    return Response(present_delivery(queued), status=202, headers={"Location": location})
