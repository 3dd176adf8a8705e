"""Frees the jobs of workers that are gone. Only an expired lease tells: a slow worker loses nothing."""

import datetime
import logging

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now

from service.jobs import lifecycle
from service.jobs.models import Checkpoint, Job, Worker
from service.jobs.states import HELD

logger = logging.getLogger(__name__)

WORKERS_KEPT = datetime.timedelta(days=1)


def reap() -> None:
    """Everything that is due; each job in a transaction of its own."""
    free_lost_jobs()
    fail_forgotten_jobs()
    sweep_orphans()


def free_lost_jobs() -> int:
    """Move each job whose lease has run out; returns how many."""
    if _database_has_just_started():
        return 0
    lost = Job.objects.filter(state__in=HELD, lease_until__lt=Now())
    moved = [job for job in map(lifecycle.lose_worker, lost.only("id", "attempt")) if job is not None]
    for job in moved:
        logger.warning("Job %s: %s", job.id, job.sentence)
    return len(moved)


def _database_has_just_started() -> bool:
    """While it was away no worker could renew its lease: each has one period to do so before it counts as lost."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT now() < pg_postmaster_start_time() + make_interval(secs => %s)", [settings.ALTPROP_LEASE_SECONDS]
        )
        return bool(cursor.fetchone()[0])


def fail_forgotten_jobs() -> int:
    """Fail each job that waited longer than it may; returns how many."""
    overdue = Job.objects.raw(
        """
        SELECT id, state_at FROM jobs_job
        WHERE state = 'queued' AND max_pending_seconds IS NOT NULL
          AND now() > GREATEST(state_at, not_before) + make_interval(secs => max_pending_seconds)
        """
    )
    return sum(lifecycle.expire(job) is not None for job in overdue)


def sweep_orphans() -> None:
    """Checkpoints that a lost attempt left unpublished, and rows of workers long gone."""
    current = Q(job__attempt=F("attempt"), job__state__in=HELD)
    Checkpoint.objects.filter(published_at__isnull=True).exclude(current).delete()
    Worker.objects.filter(last_seen__lt=Now() - WORKERS_KEPT).delete()
