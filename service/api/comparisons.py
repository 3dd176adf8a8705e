"""`/comparisons?jobs=id,id,…`: any jobs side by side, whatever they are."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.visibility import visible_to
from service.api.base import ApiView
from service.api.comparison_shape import JobsCompared
from service.api.etag import tagged
from service.api.experiment_reports import file_answer
from service.api.job_parts import User
from service.api.jobs import IF_NONE_MATCH
from service.api.negotiation import AnyAccepted
from service.api.openapi import answers, refusals
from service.api.problem import InvalidParameter, ParameterError
from service.api.query import Query, parameters, parse_query
from service.comparison.plots.jobs import job_curves
from service.experiments.side_by_side import LEAST_JOBS, MOST_JOBS, curve_names, curves_against, side_by_side
from service.jobs.models import Job
from trainers.spec import did_you_mean


class ComparisonQuery(Query):
    jobs: str = Field(description=f"ids of {LEAST_JOBS} to {MOST_JOBS} jobs, with commas between; each once")
    name: list[str] = Field(default=[], description="only these curves; may be repeated. Left out: all")
    points: int = Field(
        default=200, ge=3, le=1_000, description="of each curve at most; fewer where there are very many curves"
    )


class ComparisonView(ApiView):
    """Jobs side by side."""

    query = ComparisonQuery

    @extend_schema(
        operation_id="comparisons_retrieve",
        summary="Compare any jobs",
        description="Where their specs differ, their final figures, and their curves against epochs, steps, seconds "
        "and FLOPs. Jobs that have not ended are shown as far as they are.",
        parameters=[*parameters(ComparisonQuery), IF_NONE_MATCH],
        responses={**answers(JobsCompared), 304: None},
    )
    def get(self, request: Request) -> Response:
        query = parse_query(ComparisonQuery, request)
        jobs = find_jobs(request.user, query.jobs)
        _refuse_unknown_curves(query.name, curve_names(jobs))
        found = side_by_side(jobs, names=query.name, points=query.points)
        for shown in found["jobs"]:
            shown["url"] = str(reverse("api:job", kwargs={"id": shown["id"]}, request=request))
        return tagged(request, found)


class ComparisonPlotQuery(Query):
    jobs: str = Field(description=f"ids of {LEAST_JOBS} to {MOST_JOBS} jobs, with commas between; each once")
    axis: Literal["epoch", "step", "seconds", "flops"] = Field(default="epoch", description="what it is drawn against")


class ComparisonPlotView(ApiView):
    """One curve of all jobs as a figure."""

    content_negotiation_class = AnyAccepted
    query = ComparisonPlotQuery

    @extend_schema(
        operation_id="comparisons_plots_retrieve",
        summary="A curve of any jobs as a figure: {curve}.svg or {curve}.png",
        parameters=parameters(ComparisonPlotQuery),
        responses={
            **refusals(404),
            (200, "image/svg+xml"): OpenApiTypes.BINARY,
            (200, "image/png"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, file: str) -> HttpResponse:
        query = parse_query(ComparisonPlotQuery, request)
        jobs = find_jobs(request.user, query.jobs)
        name, _, kind = file.rpartition(".")
        if kind not in ("svg", "png"):
            raise Http404(f"There is no figure {file[:80]!r}: figures end in .svg or .png.")
        lines = curves_against(jobs, name, query.axis)
        if not lines:
            known = ", ".join(curve_names(jobs)) or "none yet"
            raise Http404(f"None of these jobs has {name[:80]!r} against {query.axis}; they have: {known}.")
        plot = job_curves(name, query.axis, lines)
        return file_answer(plot.svg, "image/svg+xml") if kind == "svg" else file_answer(plot.png, "image/png")


def find_jobs(user: User, sent: str) -> list[Job]:
    """The user's jobs of these ids, in that order. Raises InvalidParameter that names every wrong one."""
    texts = [text.strip() for text in sent.split(",") if text.strip()]
    if not LEAST_JOBS <= len(texts) <= MOST_JOBS:
        raise _refused(
            f"jobs must name {LEAST_JOBS} to {MOST_JOBS} jobs, with commas between; got {len(texts)}.", len(texts)
        )
    problems: list[ParameterError] = []
    ids: list[UUID] = []
    for text in texts:
        try:
            id = UUID(text)
        except ValueError:
            problems.append(ParameterError("jobs", f"{text[:80]!r} is no id of a job: ids are UUIDs.", text))
            continue
        if id in ids:
            problems.append(
                ParameterError("jobs", f"The job {id} stands there twice; each must stand there once.", text)
            )
        ids.append(id)
    found = {job.pk: job for job in Job.objects.with_progress().filter(visible_to(user), pk__in=ids)}
    problems += [
        ParameterError("jobs", f"There is no job {id} that you may see.", str(id))
        for id in dict.fromkeys(ids)
        if id not in found
    ]
    if problems:
        raise InvalidParameter.of(problems)
    return [found[id] for id in ids]


def _refuse_unknown_curves(names: Sequence[str], known: Sequence[str]) -> None:
    """Jobs that have measured nothing yet may still come to have any curve."""
    if unknown := [name for name in names if known and name not in known]:
        raise InvalidParameter.of(
            ParameterError(
                "name",
                f"None of these jobs has a curve {name[:80]!r}.{did_you_mean(name[:80], known)} "
                f"They have: {', '.join(known)}.",
                name,
                tuple(known),
            )
            for name in unknown
        )


def _refused(detail: str, got: object) -> InvalidParameter:
    return InvalidParameter.of([ParameterError("jobs", detail, got, (f"{LEAST_JOBS} to {MOST_JOBS}",))])
