"""What is posted to make or change a webhook."""

from pydantic import Field, field_validator

from service.webhooks.addresses import parse_url
from service.webhooks.errors import AddressRefused
from service.webhooks.events import EVENT_TYPES, EventType
from trainers.spec import StrictModel

LONGEST_URL = 2_000


def _checked_url(text: str) -> str:
    try:
        parse_url(text)
    except AddressRefused as refusal:
        raise ValueError(refusal.sentence) from None
    return text


def _each_once(events: list[EventType] | None) -> list[EventType] | None:
    if events is not None and len(set(events)) < len(events):
        raise ValueError("each type must stand there once")
    return events


_URL = "where messages are posted: https://… or http://…"
_EVENTS = "types of messages that are wanted; null: all"
_ENABLED = "false: nothing is sent, and moves meanwhile are not kept for later"


class WebhookRequest(StrictModel):
    """A new webhook. `{"url": "https://…"}` is a whole one."""

    url: str = Field(min_length=1, max_length=LONGEST_URL, description=_URL)
    description: str = Field(default="", max_length=200, description="for people")
    events: list[EventType] | None = Field(default=None, min_length=1, max_length=len(EVENT_TYPES), description=_EVENTS)
    enabled: bool = Field(default=True, description=_ENABLED)

    _url = field_validator("url")(_checked_url)
    _events = field_validator("events")(_each_once)


class WebhookChange(StrictModel):
    """What is to be different; a key that is left out stays as it is."""

    url: str = Field(default="", min_length=1, max_length=LONGEST_URL, description=_URL)
    description: str = Field(default="", max_length=200, description="for people")
    events: list[EventType] | None = Field(default=None, min_length=1, max_length=len(EVENT_TYPES), description=_EVENTS)
    enabled: bool = Field(default=True, description=f"{_ENABLED}; true also ends what a failing receiver caused")

    _url = field_validator("url")(_checked_url)
    _events = field_validator("events")(_each_once)
