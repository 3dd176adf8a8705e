"""`/jobs/{id}/artefacts`: files that a run made for people to look at, such as plots and tables."""

from django.http import Http404, HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.api.job_parts import JobPart
from service.api.negotiation import AnyAccepted
from service.api.openapi import answers, refusals
from service.jobs.models import Artefact
from service.jobs.presentation import time_text

SHOWN_IN_PLACE = {"image/png", "image/jpeg", "text/plain", "text/csv", "application/json"}
"""By a browser; the rest is saved. No SVG and no HTML: a run must not put a script on the service's own pages."""


class ArtefactShown(BaseModel):
    name: str
    media_type: str
    description: str
    created_at: str
    content_url: str


class ArtefactList(BaseModel):
    """A job's files, by name."""

    results: list[ArtefactShown]


class ArtefactsView(JobPart):
    """Files that a run made."""

    @extend_schema(summary="List the files that the run made", responses=answers(ArtefactList, 404))
    def get(self, request: Request, id: str) -> Response:
        job = self.job()
        results = [
            ArtefactShown(
                name=row.name,
                media_type=row.media_type,
                description=row.description,
                created_at=time_text(row.created_at),
                content_url=reverse(
                    "api:job-artefact-content", kwargs={"id": job.pk, "name": row.name}, request=request
                ),
            ).model_dump()
            for row in Artefact.objects.filter(job=job).defer("content").order_by("name")
        ]
        return Response({"results": results})


class ArtefactContentView(JobPart):
    """One such file."""

    content_negotiation_class = AnyAccepted

    @extend_schema(
        operation_id="jobs_artefacts_content_retrieve",
        summary="Fetch a file that the run made",
        responses={**refusals(404), (200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, id: str, name: str) -> HttpResponse:
        job = self.job()
        row = Artefact.objects.filter(job=job, name=name).first() if "\x00" not in name else None
        if row is None:
            raise Http404(f"Job {job.pk} has no artefact {name[:80]!r}.")
        in_place = row.media_type in SHOWN_IN_PLACE
        return HttpResponse(
            bytes(row.content),
            content_type=row.media_type if in_place else "application/octet-stream",
            headers={
                "Content-Disposition": content_disposition_header(not in_place, row.name.rsplit("/", 1)[-1])
                or "inline",
                "X-Content-Type-Options": "nosniff",
            },
        )
