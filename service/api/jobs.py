"""`/jobs`: submit, follow and steer jobs."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import Field
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.visibility import visible_to
from service.api.base import ApiViewSet, object_in
from service.api.estimate import estimate
from service.api.etag import tagged
from service.api.idempotency import once
from service.api.job_filter import JobFilter, JobFilterBackend
from service.api.job_parts import find_job
from service.api.job_request import JobRequest, Wanted, changed, check
from service.api.job_shape import DryRun, JobList, JobShown
from service.api.openapi import BODY, answers
from service.api.pagination import CursorPages
from service.api.query import Query, parameters, parse_query
from service.jobs import descent, lifecycle
from service.jobs.models import Job
from service.jobs.presentation import present, present_all
from trainers.spec import TrainingSpec

KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Your own id of this request: should its answer be lost, send it again and get the same one.",
)
IF_NONE_MATCH = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="ETag that you have")


class CreateQuery(Query):
    dry_run: bool = Field(default=False, description="check, fill in and estimate; queue nothing")


class JobViewSet(ApiViewSet, GenericAPIView[Job]):
    """Submit, follow and steer jobs."""

    queryset = Job.objects.with_progress()
    filter_backends, filterset_class = (JobFilterBackend,), JobFilter
    pagination_class = CursorPages
    order_fields, usual_order = ("created_at", "queued_at", "state_at", "priority", "name", "id"), "-created_at"
    queries = {"create": CreateQuery, "clone": CreateQuery}

    def get_queryset(self) -> "QuerySet[Job]":
        return Job.objects.with_progress().filter(visible_to(self.request.user))

    def known_parameters(self) -> set[str]:
        if self.action == "list":
            return {*JobFilter.base_filters, *CursorPages.parameters}
        return super().known_parameters()

    @extend_schema(summary="List jobs", responses=answers(JobList))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(present_all(page or (), lambda job: _url(job, request)))

    @extend_schema(
        summary="Submit a job",
        description="One flat object: the training spec's keys and the job's own. With `dry_run=true`: 200, what the "
        "job would be, and nothing is queued.",
        request=JobRequest,
        parameters=[*parameters(CreateQuery), KEY],
        responses={**answers(JobShown, 409, 422, *BODY, status=201), 200: DryRun},
    )
    def create(self, request: Request) -> Response:

        def make(wanted: Wanted) -> Job:
            return lifecycle.create_job(request.user, wanted.spec, **wanted.options)

        return self._submit(request, lambda: check(object_in(request), request.user), make)

    @extend_schema(summary="Show a job", parameters=[IF_NONE_MATCH], responses={**answers(JobShown, 404), 304: None})
    def retrieve(self, request: Request, id: str) -> Response:
        return tagged(request, _shown(find_job(request.user, id), request))

    @extend_schema(summary="Delete a job and all that it stored", responses=answers(None, 404, 409, status=204))
    def destroy(self, request: Request, id: str) -> Response:
        lifecycle.delete(find_job(request.user, id))
        return Response(status=204)

    @extend_schema(
        summary="The training spec of a job",
        description="Complete: posted again, it repeats the job exactly.",
        responses=answers(TrainingSpec, 404),
    )
    def spec(self, request: Request, id: str) -> Response:
        return tagged(request, find_job(request.user, id).spec)

    @extend_schema(summary="Cancel a job", request=None, responses=answers(JobShown, 404, 409, status=202))
    def cancel(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.request_cancel)

    @extend_schema(summary="Pause a job", request=None, responses=answers(JobShown, 404, 409, status=202))
    def pause(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.request_pause)

    @extend_schema(summary="Resume a paused job", request=None, responses=answers(JobShown, 404, 409, status=202))
    def resume(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.resume)

    @extend_schema(
        summary="Make a job like this one",
        description="The body holds what is to be different; objects are merged, null takes the default again.",
        request=dict,
        parameters=[*parameters(CreateQuery), KEY],
        responses={**answers(JobShown, 404, 409, 422, *BODY, status=201), 200: DryRun},
    )
    def clone(self, request: Request, id: str) -> Response:
        origin = find_job(request.user, id)

        def make(wanted: Wanted) -> Job:
            return descent.clone(origin, by=request.user, spec=wanted.spec, **wanted.options)

        return self._submit(request, lambda: check(changed(origin, object_in(request)), request.user), make)

    @extend_schema(
        summary="Try a failed or cancelled job again",
        description="A new job that goes on from the last checkpoint of this one; a diverged one starts anew.",
        request=None,
        parameters=[KEY],
        responses=answers(JobShown, 404, 409, 422, status=201),
    )
    def retry(self, request: Request, id: str) -> Response:
        ended = find_job(request.user, id)
        return once(request, lambda: _created(descent.retry(ended, by=request.user), request))

    def _steer(self, request: Request, id: str, move: Callable[..., Job]) -> Response:
        job = move(find_job(request.user, id), by=request.user)
        return Response(_shown(job, request), status=202)

    def _submit(self, request: Request, want: Callable[[], Wanted], make: Callable[[Wanted], Job]) -> Response:
        if parse_query(CreateQuery, request).dry_run:
            return Response(_dry_run(want()))
        return once(request, lambda: _created(make(want()), request))


def _created(job: Job, request: Request) -> Response:
    return Response(_shown(job, request), status=201, headers={"Location": _url(job, request)})


def _shown(job: Job, request: Request) -> dict[str, Any]:
    return present(job, _url(job, request))


def _url(job: Job, request: Request) -> str:
    return str(reverse("api:job", kwargs={"id": job.pk}, request=request))


def _dry_run(wanted: Wanted) -> dict[str, Any]:
    return {
        "spec": wanted.spec.model_dump(mode="json"),
        "queue": wanted.options["queue"] or lifecycle.default_queue(wanted.spec),
        "estimate": estimate(wanted.spec).model_dump(),
    }
