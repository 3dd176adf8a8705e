"""Stops all writers at a chosen write, counted over all jobs, so that a kill at a random instant can be repeated.

Time differs from run to run; what is written, and in which order by one worker, does not. So an instant is a number of
writes: a trigger counts those of jobs, events, summaries and chunks, and from the one that was chosen on each writer
waits for an advisory lock until the alarm is off.
"""

import contextlib
from collections.abc import Callable, Iterator

import psycopg
from django.db import connection

from tests.chaos.engine import wait_until

LOCK = 47_12

_COUNTED = {
    "jobs_job": "INSERT OR UPDATE OF state, progress",
    "jobs_event": "INSERT",
    "jobs_metricsummary": "INSERT",
    "jobs_logline": "INSERT",
    "jobs_checkpoint": "INSERT OR UPDATE OF published_at",
    "jobs_checkpointchunk": "INSERT",
}


def install() -> None:
    """Into the database that Django's connection goes to."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE SEQUENCE chaos_writes;
            CREATE TABLE chaos_alarm (at bigint);
            CREATE FUNCTION chaos_count() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE write bigint := nextval('chaos_writes');
            BEGIN
                IF write >= (SELECT at FROM chaos_alarm) THEN
                    PERFORM pg_advisory_xact_lock_shared({LOCK});
                END IF;
                RETURN NEW;
            END $$;
            """
        )
        for table, operations in _COUNTED.items():
            cursor.execute(
                f"CREATE TRIGGER chaos_count BEFORE {operations} ON {table} FOR EACH ROW EXECUTE FUNCTION chaos_count()"
            )


@contextlib.contextmanager
def alarm(writes: int, address: str, or_until: Callable[[], bool], patience: float) -> Iterator[bool]:
    """Wait until so many writes have been made from now on, or it is so; true if writers now stand still."""
    with psycopg.connect(address, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        holder.execute("DELETE FROM chaos_alarm")
        holder.execute("INSERT INTO chaos_alarm SELECT last_value + %s FROM chaos_writes", [writes])

        def rings() -> str | None:
            # The reaper or a user's request may stand there too: whoever it is, what they would write is not written.
            waits = holder.execute("SELECT FROM pg_locks WHERE objid = %s AND NOT granted", [LOCK]).fetchone()
            return "stopped" if waits is not None else "over" if or_until() else None

        try:
            yield wait_until(rings, f"{writes} writes", patience) == "stopped"
        finally:
            with contextlib.suppress(psycopg.OperationalError):  # the server may have been stopped meanwhile
                holder.execute("DELETE FROM chaos_alarm")
