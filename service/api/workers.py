"""`/workers`: the workers that live, what they serve and whether they train."""

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework.request import Request
from rest_framework.response import Response

from service.accounts.visibility import visible_to
from service.api.base import ApiViewSet
from service.api.openapi import answers
from service.jobs.models import Job, Worker
from service.jobs.presence import live_workers
from service.jobs.presentation import time_text


class WorkerShown(BaseModel):
    id: str = Field(description="new at every start")
    name: str
    host: str
    queues: list[str]
    device: str
    cores: int = Field(description="that its trainer may use")
    threads: int = Field(description="that it gives a job which leaves them open")
    busy: bool
    job: str | None = Field(description="the job that it trains, where you may see it")
    started_at: str
    last_seen: str


class WorkerList(BaseModel):
    """Workers by name."""

    results: list[WorkerShown]


class WorkerViewSet(ApiViewSet):
    """The workers that live."""

    @extend_schema(summary="List the workers that live", responses=answers(WorkerList))
    def list(self, request: Request) -> Response:
        workers = sorted(live_workers(), key=lambda worker: (worker.name, worker.started_at))
        held = [worker.job_id for worker in workers if worker.job_id]
        mine = set(Job.objects.filter(visible_to(request.user), pk__in=held).values_list("pk", flat=True))
        return Response({"results": [_shown(worker, worker.job_id in mine) for worker in workers]})


def _shown(worker: Worker, may_see_job: bool) -> dict[str, object]:
    return WorkerShown(
        id=str(worker.pk),
        name=worker.name,
        host=worker.host,
        queues=worker.queues,
        device=worker.device,
        cores=worker.cores,
        threads=worker.threads,
        busy=worker.job_id is not None,
        job=str(worker.job_id) if may_see_job else None,
        started_at=time_text(worker.started_at),
        last_seen=time_text(worker.last_seen),
    ).model_dump()
