"""What a message can be about, and how it looks: the contract with receivers."""

from typing import Literal, get_args

from pydantic import BaseModel, Field, JsonValue

from service.jobs.states import Reason, State

EventType = Literal[
    "job.queued",
    "job.running",
    "job.pausing",
    "job.paused",
    "job.cancelling",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
]
"""A job has come into that state."""

EVENT_TYPES: tuple[str, ...] = get_args(EventType)
TEST = "webhook.test"
"""Sent when asked for, whatever an endpoint chose."""


class JobMoved(BaseModel):
    """A job at the moment of its move."""

    id: str
    url: str = Field(description="the job in the API")
    state: State
    origin: State | None = Field(description="the state it came from; null: it is new")
    reason: Reason
    sentence: str = Field(description="the same for people")
    attempt: int
    by: str = Field(description='who moved it: a username, "worker …", "reaper"')
    name: str
    tags: list[str]
    algorithm: str
    dataset: str
    experiment: str | None
    owner: str
    result: dict[str, JsonValue] | None = Field(description="what it measured, once it has succeeded")


class TestSent(BaseModel):
    """Of a `webhook.test`."""

    webhook: str = Field(description="id of the webhook that is tried")
    sentence: str


class WebhookMessage(BaseModel):
    """The body that is posted. The same message, sent again, has the same bytes and the same `webhook-id`."""

    type: EventType | Literal["webhook.test"]
    timestamp: str = Field(description="when it happened")
    data: JobMoved | TestSent
