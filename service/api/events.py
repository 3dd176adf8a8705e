"""`/jobs/{id}/events`: what happened to a job, in order. As JSON here; as a stream in sse.py."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.event_shape import EventShown, events_after
from service.api.job_parts import JobPart
from service.api.openapi import answers
from service.api.query import Query, parameters, parse_query

LARGEST_ID = 2**63 - 1


class EventsQuery(Query):
    after: int = Field(default=0, ge=0, le=LARGEST_ID, description="only events with a larger id")
    limit: int = Field(default=200, ge=1, le=1000)


class EventList(BaseModel):
    """Events in order."""

    next_after: int = Field(description="`after` of the next request, which gives what has happened since")
    results: list[EventShown]


class EventsView(JobPart):
    """What happened to a job."""

    query = EventsQuery

    @extend_schema(
        summary="What happened to a job",
        description="With `Accept: text/event-stream`, a stream that goes on until the job has ended; "
        "`Last-Event-ID` resumes it. Events without an id, such as progress, are in the stream only.",
        parameters=parameters(EventsQuery),
        responses={**answers(EventList, 404), (200, "text/event-stream"): OpenApiTypes.STR},
    )
    def get(self, request: Request, id: str) -> Response:
        query = parse_query(EventsQuery, request)
        results = events_after(self.job(), query.after, query.limit)
        return Response({"next_after": results[-1]["id"] if results else query.after, "results": results})
