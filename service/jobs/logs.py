"""What a trainer printed: kept in order, bounded in length and number."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection, transaction

from service.jobs.lease import Lease, lock
from service.jobs.models import LogLine

LINE_CHARACTERS = 4_000
LINES_KEPT = 10_000  # of a job; the oldest make room


def clean(line: bytes) -> str:
    """A printed line as text that PostgreSQL takes, cut to a readable length."""
    text = line.decode(errors="replace").replace("\0", "").rstrip("\r\n")
    # A progress bar rewrites its line: what stood there last counts.
    text = text.rsplit("\r", 1)[-1]
    return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + " … (cut)"


def store_log(lease: Lease, first: int, lines: Sequence[str]) -> None:
    """Write lines numbered from `first`; one already there is left as it is. Raises LeaseLost."""
    if not lines:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        lock(lease)
        cursor.execute(
            """
            INSERT INTO jobs_logline (job_id, number, attempt, text)
            SELECT %s, %s + place - 1, %s, line FROM unnest(%s::text[]) WITH ORDINALITY AS said (line, place)
            ON CONFLICT (job_id, number) DO NOTHING
            """,
            [lease.job, first, lease.attempt, list(lines)],
        )
        last = first + len(lines) - 1
        if last > LINES_KEPT:
            LogLine.objects.filter(job_id=lease.job, number__lte=last - LINES_KEPT).delete()


def last_number(job: UUID) -> int:
    """Of the newest line kept; 0 when there is none."""
    return LogLine.objects.filter(job_id=job).order_by("-number").values_list("number", flat=True).first() or 0
