"""`/health`: whether jobs can be taken and trained now: database, broker, and a live worker. Open to all.

200 when all three are there, else 503. Only the database is needed to take a job: without broker or worker it waits.
"""

from collections.abc import Callable
from typing import Literal

import redis
from django.conf import settings
from django.db import Error, connection
from drf_spectacular.utils import OpenApiResponse, extend_schema
from pydantic import BaseModel, Field
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiView
from service.api.openapi import answers
from service.jobs.presence import live_workers

BROKER_PATIENCE = 1.0


class PartHealth(BaseModel):
    ok: bool
    sentence: str


class Health(BaseModel):
    """The service's parts, each with what is the matter."""

    status: Literal["ok", "degraded", "down"] = Field(description="degraded: jobs are taken, but wait")
    database: PartHealth
    broker: PartHealth
    worker: PartHealth


class HealthView(ApiView):
    """Whether the service is whole."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        summary="Whether the service is whole",
        responses={**answers(Health, public=True), 503: OpenApiResponse(Health, description="A part is away.")},
    )
    def get(self, request: Request) -> Response:
        found = health()
        return Response(found.model_dump(), status=200 if found.status == "ok" else 503)


def health() -> Health:
    """Look at each part, none for longer than a second or two."""
    database = _checked(_database, Error, "The database does not answer.")
    broker = _checked(_broker, (redis.RedisError, OSError, ValueError), "The broker does not answer; jobs start later.")
    worker = (
        _checked(_worker, Error, "The workers cannot be looked up.")
        if database.ok
        else PartHealth(ok=False, sentence="Unknown: workers are registered in the database.")
    )
    status: Literal["ok", "degraded", "down"] = "down" if not database.ok else "degraded"
    if database.ok and broker.ok and worker.ok:
        status = "ok"
    return Health(status=status, database=database, broker=broker, worker=worker)


def _checked(
    look: Callable[[], PartHealth], failures: type[Exception] | tuple[type[Exception], ...], sentence: str
) -> PartHealth:
    try:
        return look()
    except failures:
        return PartHealth(ok=False, sentence=sentence)


def _database() -> PartHealth:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return PartHealth(ok=True, sentence="Answers.")


def _broker() -> PartHealth:
    from service.celery import app

    address = app.conf.broker_url or settings.CELERY_BROKER_URL
    with redis.Redis.from_url(
        address, socket_timeout=BROKER_PATIENCE, socket_connect_timeout=BROKER_PATIENCE
    ) as broker:
        broker.ping()
    return PartHealth(ok=True, sentence="Answers.")


def _worker() -> PartHealth:
    count = len(live_workers())
    if not count:
        return PartHealth(ok=False, sentence="No worker lives: jobs are taken, and wait for one.")
    return PartHealth(ok=True, sentence=f"{count} {'lives' if count == 1 else 'live'}.")
