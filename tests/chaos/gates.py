"""Stops a supervisor at a named moment of its job, inside the database, until the test lets it go on.

A trigger waits for an advisory lock that the test holds. So a test kills at exactly that moment, however fast or slow
the machine is, and the code under test knows nothing of it.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from django.db import connection

from service.jobs.models import Job
from tests.chaos.engine import wait_until

LOCK = 47_11

_MOMENTS = {
    # a request has been read and checked, and its job is about to be stored
    "posted": ("INSERT", "jobs_job", "NEW.id", "true"),
    # the first word of the trainer is about to be stored
    "claimed": ("INSERT", "jobs_event", "NEW.job_id", "NEW.type = 'started'"),
    # points between two checkpoints
    "mid_epoch": ("INSERT", "jobs_metricsummary", "NEW.job_id", "NEW.last_step > 200"),
    # bytes of a checkpoint, when there is an older one to fall back to
    "mid_checkpoint": (
        "INSERT",
        "jobs_checkpointchunk",
        "(SELECT job_id FROM jobs_checkpoint WHERE id = NEW.checkpoint_id)",
        "(SELECT count(*) > 1 FROM jobs_checkpoint WHERE job_id = about)",
    ),
    # the finishing one
    "last_write": ("UPDATE", "jobs_job", "NEW.id", "NEW.state = 'succeeded'"),
}
MOMENTS = tuple(moment for moment in _MOMENTS if moment != "posted")
"""Those of a job that a worker holds."""


def install() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE chaos_gate (job uuid, moment text)")
        for moment, (operation, table, job, condition) in _MOMENTS.items():
            cursor.execute(
                f"""
                CREATE FUNCTION chaos_{moment}() RETURNS trigger LANGUAGE plpgsql AS $$
                DECLARE about uuid := {job};
                BEGIN
                    IF {condition} AND EXISTS (SELECT FROM chaos_gate
                                               WHERE COALESCE(job, about) = about AND moment = '{moment}') THEN
                        PERFORM pg_advisory_xact_lock({LOCK});
                    END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER chaos_{moment} BEFORE {operation} ON {table}
                    FOR EACH ROW EXECUTE FUNCTION chaos_{moment}();
                """
            )


@contextlib.contextmanager
def stopped_at(job: Job, moment: str, address: str) -> Iterator[None]:
    """Within the block the job's supervisor stands at that moment; afterwards it goes on, if it still can."""
    with closed(moment, address, job) as reached:
        reached()
        yield


@contextlib.contextmanager
def closed(moment: str, address: str, job: Job | None = None) -> Iterator[Callable[[], None]]:
    """Within the block nobody passes that moment of this job, or of any; call what it gives to wait for one who would.

    For a moment that comes soon: the gate is closed before the job is made.
    """
    with psycopg.connect(address, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        holder.execute("DELETE FROM chaos_gate")  # of a test that stopped the server
        holder.execute("INSERT INTO chaos_gate VALUES (%s, %s)", [job.pk if job else None, moment])
        try:
            yield lambda: wait_until(lambda: _somebody_waits(holder), moment)
        finally:
            with contextlib.suppress(psycopg.OperationalError):  # the test may have stopped the server
                holder.execute("DELETE FROM chaos_gate")


def _somebody_waits(holder: psycopg.Connection[Any]) -> bool:
    return bool(
        holder.execute(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", [LOCK]
        ).fetchone()
    )
