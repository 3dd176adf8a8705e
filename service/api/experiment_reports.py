"""`/experiments/{id}/report`, `/report.csv` and `/plots/{name}.svg|png`: the answer, of what has ended so far."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import Field
from rest_framework.exceptions import NotAcceptable
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiView
from service.api.etag import tagged
from service.api.experiment_shape import ReportShown
from service.api.experiments import find_experiment
from service.api.negotiation import AnyAccepted
from service.api.openapi import answers, refusals
from service.api.problem import MEDIA_TYPE, Conflict
from service.api.query import Query, parameters, parse_query
from service.comparison.errors import ComparisonError
from service.experiments.reporting import FORMATS, NothingToReport, Report, Table, report_of

CLOSED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"
"""Content-Security-Policy of pages that hold users' words: no script, nothing fetched."""

ACCEPTED = {
    "application/json": "json",
    "text/html": "html",
    "text/markdown": "markdown",
    "application/x-latex": "latex",
    MEDIA_TYPE: "json",
}
"""Formats by media type; of those that are equally welcome the first."""


class ReportQuery(Query):
    format: Literal["json", "html", "markdown", "latex"] | None = Field(
        default=None, description="left out: as Accept says, and else JSON"
    )
    hyperparameters: Table | None = Field(
        default=None,
        description="of a tuned experiment one table alone; left out: tuned, with the other behind",
    )


class TableQuery(Query):
    hyperparameters: Table | None = Field(default=None, description="of a tuned experiment; left out: tuned")


class ExperimentPart(ApiView):
    """Base of the views of what is computed from an experiment's jobs."""

    content_negotiation_class = AnyAccepted

    def report(self, table: Table | None = None) -> Report:
        """The numbers. Raises Http404, and Conflict while there are none."""
        experiment = find_experiment(self.request.user, self.kwargs["id"])
        try:
            return report_of(
                experiment,
                lambda job: self._address("api:job", job),
                self._address("api:experiment", experiment.pk),
                table=table,
            )
        except NothingToReport as nothing:
            raise Conflict(str(nothing)) from None

    def _address(self, view: str, id: UUID) -> str:
        # Not REST framework's reverse, which would hand this request's `format` on to every link in the report.
        return self.request.build_absolute_uri(reverse(view, kwargs={"id": id}))


class ReportView(ExperimentPart):
    """The scorecard with all that it rests on."""

    query = ReportQuery

    @extend_schema(
        summary="Can anything dethrone backprop here?",
        description="The scorecard, its comparisons and where they come from. While jobs still run, of those that have "
        "ended.",
        parameters=parameters(ReportQuery),
        responses={
            **answers(ReportShown, 404, 409),
            **{(200, kind.split(";")[0]): OpenApiTypes.STR for kind, _ in FORMATS.values()},
            (200, "application/json"): ReportShown,
        },
    )
    def get(self, request: Request, id: str) -> HttpResponse | Response:
        asked = parse_query(ReportQuery, request)
        wanted = asked.format or _accepted(request)
        report = self.report(asked.hyperparameters)
        if wanted == "json":
            answer: HttpResponse | Response = tagged(request, report.json())
        else:
            kind, make = FORMATS[wanted]
            answer = file_answer(make(report), kind)
        patch_vary_headers(answer, ["Accept"])
        return answer


class ReportTableView(ExperimentPart):
    """The comparisons as a table."""

    query = TableQuery

    @extend_schema(
        operation_id="experiments_report_csv_retrieve",
        summary="Every comparison as CSV",
        parameters=parameters(TableQuery),
        responses={**refusals(404, 409), (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request, id: str) -> HttpResponse:
        named = {"Content-Disposition": f'attachment; filename="experiment-{id[:36]}.csv"'}
        table = parse_query(TableQuery, request).hyperparameters
        return file_answer(self.report(table).csv(), "text/csv; charset=utf-8", named)


class PlotView(ExperimentPart):
    """One figure."""

    query = TableQuery

    @extend_schema(
        operation_id="experiments_plots_retrieve",
        summary="A figure of the report: {name}.svg or {name}.png",
        parameters=parameters(TableQuery),
        responses={
            **refusals(404, 409),
            (200, "image/svg+xml"): OpenApiTypes.BINARY,
            (200, "image/png"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, id: str, file: str) -> HttpResponse:
        report = self.report(parse_query(TableQuery, request).hyperparameters)
        name, _, kind = file.rpartition(".")
        if kind not in ("svg", "png"):
            raise Http404(f"There is no figure {file[:80]!r}: figures end in .svg or .png.")
        try:
            plot = report.plot(name)
        except ComparisonError as unknown:
            raise Http404(f"This experiment has no figure {name[:80]!r}; it has {unknown.allowed}.") from None
        if kind == "svg":
            return file_answer(plot.svg, "image/svg+xml")
        return file_answer(plot.png, "image/png")


def _accepted(request: Request) -> str:
    """The format that the Accept header likes best. Raises NotAcceptable."""
    kind = request._request.get_preferred_type(list(ACCEPTED))
    if kind is None:
        raise NotAcceptable
    return ACCEPTED[kind]


def file_answer(content: str | bytes, kind: str, headers: Mapping[str, Any] | None = None) -> HttpResponse:
    """A page or figure of this media type, closed: it holds users' words, and runs and fetches nothing."""
    return HttpResponse(
        content,
        content_type=kind,
        headers={"Content-Security-Policy": CLOSED, "X-Content-Type-Options": "nosniff", **(headers or {})},
    )
