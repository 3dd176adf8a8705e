"""Jobs as plain dicts: the one shape that API, panel and client show."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.jobs.models import Job, MetricSummary, Transition, Worker
from service.jobs.presence import live_workers
from service.jobs.states import Reason, State

_SPEC_PARTS = ("algorithm", "dataset", "network", "hyperparameters", "dataset_options", "training")
_PLAIN = (Reason.CREATED, Reason.CLAIMED, Reason.COMPLETED)
"""Reasons of the usual way, which need no explaining."""


def present(job: Job, url: str, *, workers: Sequence[Worker] | None = None) -> dict[str, Any]:
    """A job: its spec's keys flat, where it stands, and its curves summed up.

    url: the job's own address. workers: the live ones, looked up when left out; they only matter to a job that waits.
    """
    return {
        "id": str(job.id),
        "url": url,
        "state": job.state,
        "reason": None if job.reason in _PLAIN else job.reason,
        "sentence": sentence_of(job, workers),
        **{part: job.spec.get(part) for part in _SPEC_PARTS},
        "progress": job.progress,
        "metrics": {summary.name: present_summary(summary) for summary in job.summaries.all()},
        "result": job.result,
        "failure": job.failure,
        "attempt": job.attempt,
        "failures": job.failures,
        "max_failures": job.max_failures,
        "worker": job.worker_name or None,
        "queue": job.queue,
        "priority": job.priority,
        "name": job.name,
        "tags": job.tags,
        "parent": _text(job.parent_id),
        "experiment": _text(job.experiment),
        "start_from_checkpoint": _text(job.start_from_checkpoint_id),
        "max_seconds": job.max_seconds,
        "max_pending_seconds": job.max_pending_seconds,
        "seconds_trained": job.seconds_trained,
        "owner": job.owner.get_username(),
        "not_before": time_text(job.not_before),
        "created_at": time_text(job.created_at),
        "queued_at": time_text(job.queued_at),
        "started_at": time_text(job.started_at),
        "finished_at": time_text(job.finished_at),
    }


def present_all(jobs: Iterable[Job], url_of: Callable[[Job], str]) -> list[dict[str, Any]]:
    """As `present`, of a page of jobs (from `Job.objects.with_progress()`), with one look at the workers."""
    jobs = list(jobs)
    workers = live_workers() if any(job.state == State.QUEUED for job in jobs) else []
    return [present(job, url_of(job), workers=workers) for job in jobs]


def sentence_of(job: Job, workers: Sequence[Worker] | None = None) -> str:
    """What the job says of itself; of one that waits in vain, why."""
    if job.state != State.QUEUED:
        return job.sentence
    now = datetime.datetime.now(datetime.UTC)
    if job.not_before is not None and job.not_before > now:
        return f"{job.sentence} It is not to start before {time_text(job.not_before)}."
    serving = [worker for worker in (live_workers() if workers is None else workers) if job.queue in worker.queues]
    if not serving:
        return f"No live worker serves the queue '{job.queue}': start one, or move the job to another queue."
    if job.device is not None and all(worker.device != job.device for worker in serving):
        return f"No live worker of the queue '{job.queue}' has the device that the job asks for, {job.device}."
    if job.threads is not None and all(worker.cores < job.threads for worker in serving):
        most = max(worker.cores for worker in serving)
        return (
            f"The job asks for {job.threads} threads, and no live worker of the queue '{job.queue}' has more than "
            f"{most} cores: fewer threads would change its sums."
        )
    return job.sentence


def present_summary(summary: MetricSummary) -> dict[str, Any]:
    """A curve in seven numbers."""
    return {
        "last": summary.last,
        "best": summary.best,
        "best_step": summary.best_step,
        "min": summary.minimum,
        "max": summary.maximum,
        "mean": summary.mean,
        "count": summary.count,
    }


def present_transition(transition: Transition) -> dict[str, Any]:
    return {
        "from": transition.origin,
        "to": transition.target,
        "reason": transition.reason,
        "sentence": transition.sentence,
        "attempt": transition.attempt,
        "by": transition.by,
        "at": time_text(transition.at),
    }


def time_text(time: datetime.datetime | None) -> str | None:
    """ISO 8601 in UTC, ending in Z."""
    return None if time is None else time.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


def _text(value: object) -> str | None:
    return None if value is None else str(value)
