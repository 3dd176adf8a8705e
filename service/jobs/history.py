"""Writes what happened to a job: the row of its history, the event for its readers, the word to other apps.

Always within the transaction that makes the change.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.dispatch import Signal

from service.jobs.models import Event, Job, Transition
from service.jobs.schema import CHANNEL
from service.jobs.states import State

job_moved = Signal()
"""Sent with `transition` (its job loaded) inside the transaction: what a receiver writes is committed with it."""

_NOTIFY_BYTES = 7500  # PostgreSQL carries just under 8,000


def record_move(job: Job, *, origin: State | None, by: str) -> None:
    """`job` has just come from `origin` into its state."""
    transition = Transition.objects.create(
        job=job,
        origin=origin,
        target=job.state,
        reason=job.reason,
        sentence=job.sentence,
        attempt=job.attempt,
        by=by,
    )
    data = {"state": job.state, "origin": origin, "reason": job.reason, "sentence": job.sentence}
    record_event(job.id, "state", {**data, "attempt": job.attempt})
    job_moved.send(Job, transition=transition)


def record_event(job: UUID, type: str, data: Mapping[str, Any]) -> None:
    """An entry of the job's event stream; its readers are told when the transaction commits."""
    Event.objects.create(job_id=job, type=type, data=data)


def announce(job: UUID, type: str, data_json: str) -> None:
    """Tell readers of the event stream something that is kept elsewhere: progress, points of a curve."""
    message = f'{{"job": "{job}", "type": "{type}", "data": {data_json}}}'
    if len(message.encode()) <= _NOTIFY_BYTES:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, message])
