"""`/jobs/{id}/diagnostics`: health of signals and updates, a row a layer, at the diagnosed steps."""

from typing import Any

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field, JsonValue
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.events import LARGEST_ID
from service.api.job_parts import JobPart
from service.api.openapi import answers
from service.api.query import Query, parameters, parse_query
from service.jobs.models import Job


class DiagnosticsQuery(Query):
    after_step: int = Field(default=-1, ge=-1, le=LARGEST_ID, description="only later steps, to follow a running job")
    points: int = Field(default=100, ge=2, le=1000, description="steps at most, evenly spread; the newest is there")


class DiagnosticShown(BaseModel):
    step: int
    epoch: int
    passes: int
    samples: int
    seconds: float
    layers: list[dict[str, JsonValue]] = Field(description="bottom to top")
    verdict: str | None = Field(description="what the numbers say, in words")


class DiagnosticList(BaseModel):
    """Diagnosed steps in order."""

    results: list[DiagnosticShown]


class DiagnosticsView(JobPart):
    """Health of signals and updates."""

    query = DiagnosticsQuery

    @extend_schema(
        summary="Health of signals and updates, layer by layer",
        parameters=parameters(DiagnosticsQuery),
        responses=answers(DiagnosticList, 404),
    )
    def get(self, request: Request, id: str) -> Response:
        query = parse_query(DiagnosticsQuery, request)
        return Response({"results": _thinned(self.job(), query.after_step, query.points)})


def _thinned(job: Job, after_step: int, most: int) -> list[dict[str, Any]]:
    rows = job.diagnostics.filter(step__gt=after_step).order_by("step")
    steps = list(rows.values_list("step", flat=True))
    if len(steps) > most:
        last = len(steps) - 1
        rows = rows.filter(step__in={steps[round(place * last / (most - 1))] for place in range(most)})
    return list(rows.values(*DiagnosticShown.model_fields))
