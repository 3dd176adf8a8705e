"""`/jobs/{id}/logs`: what the trainer process printed, over all attempts."""

from typing import Literal

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.events import LARGEST_ID
from service.api.job_parts import JobPart
from service.api.openapi import answers
from service.api.query import Query, parameters, parse_query
from service.jobs.presentation import time_text


class LogQuery(Query):
    after: int = Field(default=0, ge=0, le=LARGEST_ID, description="only lines with a larger number")
    limit: int = Field(default=500, ge=1, le=5000)
    end: Literal["first", "last"] = Field(
        default="first", description="first: from `after` on; last: the newest, whatever `after` is"
    )


class LogLineShown(BaseModel):
    number: int = Field(description="from 1, over all attempts")
    attempt: int
    at: str
    text: str


class LogList(BaseModel):
    """Lines in order."""

    next_after: int = Field(description="`after` of the next request, which gives what was printed since")
    results: list[LogLineShown]


class LogsView(JobPart):
    """What the trainer process printed."""

    query = LogQuery

    @extend_schema(
        summary="What the trainer process printed",
        parameters=parameters(LogQuery),
        responses=answers(LogList, 404),
    )
    def get(self, request: Request, id: str) -> Response:
        query = parse_query(LogQuery, request)
        lines = self.job().log_lines
        if query.end == "last":
            chosen = list(lines.order_by("-number")[: query.limit])[::-1]
        else:
            chosen = list(lines.filter(number__gt=query.after).order_by("number")[: query.limit])
        results = [
            LogLineShown(number=line.number, attempt=line.attempt, at=time_text(line.at), text=line.text).model_dump()
            for line in chosen
        ]
        return Response({"next_after": chosen[-1].number if chosen else query.after, "results": results})
