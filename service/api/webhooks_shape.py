"""What webhooks and their messages look like, for the OpenAPI document; service.webhooks.presentation makes them."""

from typing import Literal

from drf_spectacular.utils import OpenApiResponse, OpenApiWebhook, extend_schema
from pydantic import BaseModel, Field

from service.webhooks.events import EventType, WebhookMessage


class WebhookShown(BaseModel):
    """Where messages go. The secret is shown once, when it is made."""

    id: str
    url: str = Field(description="where messages are posted")
    description: str
    events: list[EventType] | None = Field(description="types of messages that are wanted; null: all")
    enabled: bool
    disabled_reason: str | None = Field(description="why nothing is sent, where nothing is")
    failing_since: str | None = Field(description="nothing was taken there since; after three days it is disabled")
    last_delivered_at: str | None
    deliveries_url: str = Field(description="its messages")
    owner: str
    created_at: str


class WebhookWithSecret(WebhookShown):
    secret: str = Field(description="messages are signed with it: it cannot be shown again")


class WebhookList(BaseModel):
    """A page of webhooks."""

    next: str | None = Field(description="address of the next page")
    results: list[WebhookShown]


class DeliveryShown(BaseModel):
    """A message, and what came of it."""

    id: str = Field(description="the header `webhook-id`: the same each time this message is sent")
    webhook: str
    type: EventType | Literal["webhook.test"]
    job: str | None
    state: Literal["waiting", "delivered", "gave_up"]
    sentence: str = Field(description="what came of the last attempt")
    attempts: int = Field(description="since it was queued, or asked for again")
    response_status: int | None = Field(description="HTTP status of the last answer; null: none came")
    queued_at: str
    attempted_at: str | None
    next_attempt_at: str | None = Field(description="null: there is none")
    delivered_at: str | None
    gave_up_at: str | None
    payload: WebhookMessage


class DeliveryList(BaseModel):
    """A page of messages."""

    next: str | None = Field(description="address of the next page")
    results: list[DeliveryShown]


MESSAGE = OpenApiWebhook(
    name="Message",
    decorator=extend_schema(
        summary="What a webhook receives",
        description="Posted at least once for each move of a job, signed as Standard Webhooks has it: headers "
        "`webhook-id` (the same when it is sent again), `webhook-timestamp`, `webhook-signature`. Any 2xx takes it; "
        "410 disables the webhook; all else is tried again for 72 hours.",
        request=WebhookMessage,
        responses={
            "2XX": OpenApiResponse(description="It was taken."),
            410: OpenApiResponse(description="Send no more."),
        },
    ),
)
"""For the document's own `webhooks`."""
