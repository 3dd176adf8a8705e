"""The doorbell: tells workers that there may be work. A lost message costs a few seconds, never a job."""

from django.conf import settings
from django.db import connection

from service import celery


def ring(queue: str) -> bool:
    """Ring once in this queue; False where the broker cannot be reached, which is no error: the next tick rings."""
    return celery.ring(
        "service.jobs.tasks.ring",
        queue=queue,
        expires=settings.ALTPROP_DISPATCH_SECONDS,
        of=f"work in queue {queue}",
    )


def waiting_queues() -> list[str]:
    """Queues with a job that could be claimed now."""
    with connection.cursor() as cursor:
        # Hops from queue to queue along the index jobs_job_claim, however many jobs wait in each.
        cursor.execute(
            """
            WITH RECURSIVE queues AS (
                (SELECT queue FROM jobs_job WHERE state = 'queued' ORDER BY queue LIMIT 1)
                UNION ALL
                SELECT (SELECT job.queue FROM jobs_job AS job
                        WHERE job.state = 'queued' AND job.queue > queues.queue ORDER BY job.queue LIMIT 1)
                FROM queues WHERE queues.queue IS NOT NULL
            )
            SELECT queue FROM queues
            WHERE EXISTS (SELECT FROM jobs_job AS job WHERE job.state = 'queued' AND job.queue = queues.queue
                          AND (job.not_before IS NULL OR job.not_before <= now()))
            """
        )
        return [queue for (queue,) in cursor.fetchall()]


def dispatch() -> int:
    """Ring once in each queue where a job waits; returns how many."""
    queues = waiting_queues()
    for queue in queues:
        ring(queue)
    return len(queues)
