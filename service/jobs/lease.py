"""A worker's hold on a job: attempt and worker fence every write, database time ends it.

with transaction.atomic():
    job = held(lease)          # the row, locked; LeaseLost unless it is still ours
    ...                        # writes that a stale worker must not make
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from service.jobs.errors import LeaseLost
from service.jobs.models import Job
from service.jobs.states import HELD, State


@dataclass(frozen=True, slots=True)
class Lease:
    """Which attempt of which job is whose."""

    job: UUID
    attempt: int
    worker: UUID


def held(lease: Lease, *states: State) -> Job:
    """The job's row, locked to the end of the transaction. Raises LeaseLost unless this attempt still holds it.

    states: those it must be in; by default any in which a worker holds it.
    """
    row = (
        Job.objects.select_for_update(no_key=True)
        .filter(pk=lease.job, attempt=lease.attempt, worker=lease.worker, state__in=states or HELD)
        .first()
    )
    if row is None:
        raise LeaseLost(f"Attempt {lease.attempt} of job {lease.job} no longer holds it.")
    return row


def lock(lease: Lease) -> State:
    """As `held`, without reading the row's large columns: for the writes of every second."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT state FROM jobs_job
            WHERE id = %s AND attempt = %s AND worker = %s AND state = ANY(%s)
            FOR NO KEY UPDATE
            """,
            [lease.job, lease.attempt, lease.worker, _values(HELD)],
        )
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost(f"Attempt {lease.attempt} of job {lease.job} no longer holds it.")
    return State(row[0])


def renew(lease: Lease, *, seconds_trained: float) -> State | None:
    """Extend the lease; the state, in which a wish of the user may stand, or None if the job is no longer ours."""
    return _read(
        """
        UPDATE jobs_job SET lease_until = now() + make_interval(secs => %s), seconds_trained = %s
        WHERE id = %s AND attempt = %s AND worker = %s AND state = ANY(%s)
        RETURNING state
        """,
        [settings.ALTPROP_LEASE_SECONDS, seconds_trained, lease.job, lease.attempt, lease.worker, _values(HELD)],
    )


def wish(lease: Lease) -> State | None:
    """The state, without renewing: running, pausing or cancelling, or None if the job is no longer ours."""
    return _read(
        "SELECT state FROM jobs_job WHERE id = %s AND attempt = %s AND worker = %s AND state = ANY(%s)",
        [lease.job, lease.attempt, lease.worker, _values(HELD)],
    )


def _read(sql: str, parameters: Sequence[Any]) -> State | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    return State(row[0]) if row else None


def _values(states: Sequence[State]) -> list[str]:
    return [state.value for state in states]
