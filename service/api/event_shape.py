"""One event of a job: the same object in the JSON list and in the stream."""

from typing import Any

from pydantic import BaseModel, Field, JsonValue

from service.jobs.models import Event, Job
from service.jobs.presentation import time_text


class EventShown(BaseModel):
    """Something that happened to a job."""

    id: int | None = Field(description="grows; where to go on from. null: only said in the stream, not kept")
    type: str = Field(description="state, checkpoint, finding, progress, …")
    at: str | None = Field(description="when, in UTC")
    data: JsonValue


def event_shown(event: Event) -> dict[str, Any]:
    """As `EventShown`, ready for JSON."""
    return {"id": event.pk, "type": event.type, "at": time_text(event.at), "data": event.data}


def events_after(job: Job, after: int, limit: int) -> list[dict[str, Any]]:
    """Those of a job with larger ids than `after`, the first `limit` of them."""
    return [event_shown(event) for event in job.events.filter(id__gt=after).order_by("id")[:limit]]
