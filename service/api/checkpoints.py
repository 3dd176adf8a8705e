"""`/jobs/{id}/checkpoints` and `/checkpoints/{id}`: full training states, as safetensors, and their bytes.

Bytes are streamed from Postgres chunk by chunk, each checked; a range reads only the chunks that it touches.
"""

import base64
import logging
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.visibility import visible_to
from service.api.base import ApiView
from service.api.etag import holds
from service.api.job_parts import JobPart, parsed_id
from service.api.negotiation import AnyAccepted
from service.api.openapi import answers, refusals
from service.api.problem import ApiError, HeaderError
from service.jobs import checkpoints
from service.jobs.errors import CheckpointCorrupt
from service.jobs.models import Checkpoint
from service.jobs.presentation import time_text

logger = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


class RangeOutside(ApiError):
    """A range that lies beyond the file's end."""

    status, code, title = 416, "range-not-satisfiable", "The range is not in the file"


class CheckpointShown(BaseModel):
    """A full training state."""

    id: str
    url: str
    job: str
    attempt: int
    epoch: int = Field(description="epochs finished")
    step: int = Field(description="updates done")
    passes: int
    samples: int
    seconds: float = Field(description="of training")
    kinds: list[str] = Field(description="last, best, milestone; none: it may be removed soon")
    metrics: dict[str, float | None] = Field(description="measured there")
    format: str
    bytes: int
    sha256: str
    created_at: str
    content_url: str


class CheckpointList(BaseModel):
    """Whole checkpoints, newest first."""

    results: list[CheckpointShown]


class JobCheckpointsView(JobPart):
    """A job's checkpoints."""

    @extend_schema(summary="List a job's checkpoints", responses=answers(CheckpointList, 404))
    def get(self, request: Request, id: str) -> Response:
        return Response(
            {"results": [shown(row, request) for row in Checkpoint.objects.published().filter(job=self.job())]}
        )


class CheckpointView(ApiView):
    """One checkpoint."""

    @extend_schema(summary="Describe a checkpoint", responses=answers(CheckpointShown, 404))
    def get(self, request: Request, id: str) -> Response:
        return Response(shown(find_checkpoint(request.user, id), request))


class CheckpointContentView(ApiView):
    """A checkpoint's bytes."""

    content_negotiation_class = AnyAccepted

    @extend_schema(
        summary="Fetch a checkpoint's bytes",
        description="A safetensors file. `Range` fetches a part; `X-Checksum-SHA256` and `Repr-Digest` hold the "
        "SHA-256 of the whole.",
        parameters=[
            OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=FIRST-LAST, one range"),
            OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="an ETag that you have"),
            OpenApiParameter(
                "If-Range", str, OpenApiParameter.HEADER, description="an ETag; else the whole file comes"
            ),
        ],
        responses={
            **refusals(404, 416),
            304: None,
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, id: str) -> HttpResponseBase:
        row = find_checkpoint(request.user, id)
        etag = f'"{row.sha256}"'
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "X-Checksum-SHA256": row.sha256,
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(row.sha256)).decode()}:",
            "Content-Disposition": f'attachment; filename="{row.job_id}-step{row.step}.{row.format}"',
        }
        if holds(request, etag):
            return HttpResponse(status=304, headers=headers)
        part = _asked_range(request, row, etag)
        start, stop = part or (0, row.bytes)
        headers["Content-Length"] = str(stop - start)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{row.bytes}"
        status = 206 if part is not None else 200
        if request.method == "HEAD":
            return HttpResponse(status=status, headers=headers, content_type="application/octet-stream")
        pieces = _begun(row, start, stop)
        return StreamingHttpResponse(pieces, status=status, headers=headers, content_type="application/octet-stream")


def find_checkpoint(user: Any, id: str) -> Checkpoint:
    """The whole checkpoint of that id, of a job that the user may see. Raises Http404."""
    visible = Checkpoint.objects.published().filter(visible_to(user, owner="job__owner"))
    row = visible.filter(pk=parsed_id(id, "checkpoint")).first()
    if row is None:
        raise Http404(f"There is no checkpoint {id} that you may see.")
    return row


def shown(row: Checkpoint, request: Request) -> dict[str, Any]:
    """As `CheckpointShown`, ready for JSON."""
    return CheckpointShown(
        id=str(row.pk),
        url=reverse("api:checkpoint", kwargs={"id": row.pk}, request=request),
        job=str(row.job_id),
        attempt=row.attempt,
        epoch=row.epoch,
        step=row.step,
        passes=row.passes,
        samples=row.samples,
        seconds=row.seconds,
        kinds=row.kinds,
        metrics=row.metrics,
        format=row.format,
        bytes=row.bytes,
        sha256=row.sha256,
        created_at=time_text(row.created_at),
        content_url=reverse("api:checkpoint-content", kwargs={"id": row.pk}, request=request),
    ).model_dump()


def _asked_range(request: Request, row: Checkpoint, etag: str) -> tuple[int, int] | None:
    """[start, stop) of the one range that is asked for; None for the whole file, as also for a form not known here
    (RFC 9110 section 14.2). Raises RangeOutside."""
    sent = request.META.get("HTTP_RANGE", "")
    match = _RANGE.fullmatch(sent.replace(" ", ""))
    if match is None or match[0] == "bytes=-" or request.META.get("HTTP_IF_RANGE", etag) != etag:
        return None
    first, last = match[1], match[2]
    if first is None:
        start, stop = max(row.bytes - int(last), 0), row.bytes
    else:
        start, stop = int(first), min(int(last) + 1, row.bytes) if last is not None else row.bytes
        if last is not None and int(last) < int(first):
            return None
    if start >= row.bytes or start >= stop:
        detail = f"The file has {row.bytes} bytes, so there is nothing in the range {sent!r}."
        raise RangeOutside(
            detail,
            errors=[HeaderError("Range", detail, sent, (f"within 0-{row.bytes - 1}",))],
            headers={"Content-Range": f"bytes */{row.bytes}"},
        )
    return start, stop


def _begun(row: Checkpoint, start: int, stop: int) -> Iterator[bytes]:
    """The bytes, of which the first piece is read at once: what is damaged there is an answer, not a broken one."""
    pieces = checkpoints.read(row, start, stop)
    return _logged(chain([next(pieces, memoryview(b""))], pieces))


def _logged(pieces: Iterator[memoryview]) -> Iterator[bytes]:
    try:
        for piece in pieces:
            yield bytes(piece)
    except CheckpointCorrupt as error:
        # The status is long sent. Ending early leaves the reader short of Content-Length, which clients notice.
        logger.error("%s", error)
        raise
