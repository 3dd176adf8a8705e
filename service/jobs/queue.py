"""The claim: the next job that this worker can train, or none. Workers never wait for each other."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from service.jobs.lease import Lease
from service.jobs.models import Job


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a worker can take on."""

    worker: UUID
    name: str
    queues: tuple[str, ...]
    device: str
    """cpu or cuda"""
    cores: int
    """A job that asks for more threads is left to another worker, since fewer would change its sums."""
    threads: int
    """For a job that leaves them open."""


# One statement, hence one short transaction. Each queue's first job is read off the index jobs_job_claim, locked,
# and the first of those is taken. MATERIALIZED: the planner must not run the LIMIT twice.
_CLAIM = """
WITH next_job AS MATERIALIZED (
    SELECT first.id
    FROM unnest(%(queues)s::text[]) AS served (queue)
    CROSS JOIN LATERAL (
        SELECT id, priority, queued_at
        FROM jobs_job
        WHERE state = 'queued' AND queue = served.queue
          AND (not_before IS NULL OR not_before <= now())
          AND (device IS NULL OR device = %(device)s)
          AND (threads IS NULL OR threads <= %(cores)s)
        ORDER BY priority DESC, queued_at, id
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) AS first
    ORDER BY first.priority DESC, first.queued_at, first.id
    LIMIT 1
), claimed AS (
    UPDATE jobs_job AS job
    SET state = 'running', reason = 'claimed', sentence = %(sentence)s, state_at = now(),
        attempt = job.attempt + 1,                                     -- the fence: only grows
        worker = %(worker)s, worker_name = %(name)s,
        lease_until = now() + make_interval(secs => %(lease)s),        -- the database's clock
        started_at = COALESCE(job.started_at, now()),
        not_before = NULL,
        device = COALESCE(job.device, %(device)s),                     -- kept by all later attempts
        threads = COALESCE(job.threads, %(threads)s),
        spec = jsonb_set(jsonb_set(job.spec, '{training,device}', to_jsonb(COALESCE(job.device, %(device)s))),
                         '{training,threads}', to_jsonb(COALESCE(job.threads, %(threads)s)))
    FROM next_job WHERE job.id = next_job.id
    RETURNING job.*
), recorded AS (
    INSERT INTO jobs_transition (job_id, origin, target, reason, sentence, attempt, by)
    SELECT id, 'queued', 'running', 'claimed', sentence, attempt, %(by)s FROM claimed
), told AS (
    INSERT INTO jobs_event (job_id, type, data)
    SELECT id, 'state', jsonb_build_object('state', 'running', 'origin', 'queued', 'reason', 'claimed',
                                           'sentence', sentence, 'attempt', attempt)
    FROM claimed
)
SELECT * FROM claimed
"""


def claim(capacity: Capacity) -> tuple[Job, Lease] | None:
    """The next job, now running and ours, with the lease that proves it; None if there is nothing to do."""
    for job in Job.objects.raw(_CLAIM, _parameters(capacity)):
        return job, Lease(job.id, job.attempt, capacity.worker)
    return None


def explain(capacity: Capacity) -> str:
    """How PostgreSQL carries out this worker's next claim; it is undone."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) " + _CLAIM, _parameters(capacity))
        plan = "\n".join(line for (line,) in cursor.fetchall())
        transaction.set_rollback(True)
    return plan


def _parameters(capacity: Capacity) -> dict[str, Any]:
    return {
        "queues": list(capacity.queues),
        "device": capacity.device,
        "cores": capacity.cores,
        "threads": capacity.threads,
        "worker": capacity.worker,
        "name": capacity.name,
        "sentence": f"Training on worker {capacity.name}.",
        "by": f"worker {capacity.name}",
        "lease": settings.ALTPROP_LEASE_SECONDS,
    }
