"""New jobs made from old ones. Terminal states are final: what is done again is a job of its own, naming its parent."""

from typing import Any

from service.jobs.errors import TransitionRefused
from service.jobs.lifecycle import create_job
from service.jobs.models import Checkpoint, Job
from service.jobs.states import Reason, State
from trainers.spec import TrainingSpec, parse_spec

_KEPT = ("name", "tags", "priority", "queue", "max_failures", "max_seconds", "max_pending_seconds")


def retry(job: Job, *, by: Any) -> Job:
    """A new job that goes on where this one ended: from its last checkpoint, or anew if it left none.

    A diverged job starts anew, since going on would end the same way. Raises TransitionRefused unless it failed or
    was cancelled.
    """
    job.refresh_from_db()
    if job.state not in (State.FAILED, State.CANCELLED):
        hint = "clone it to run it again" if job.state == State.SUCCEEDED else "wait until it has ended, or cancel it"
        raise TransitionRefused(
            f"Only a job that failed or was cancelled can be retried; this one is {job.state}: {hint}."
        )
    last = None
    if job.reason != Reason.DIVERGED:
        last = Checkpoint.objects.published().filter(job=job).first() or job.start_from_checkpoint
    return create_job(
        by,
        parse_spec(job.spec),
        **{name: getattr(job, name) for name in _KEPT},
        start_from_checkpoint=last,
        parent=job,
        experiment=job.experiment,
    )


def clone(job: Job, *, by: Any, spec: TrainingSpec | None = None, **changes: Any) -> Job:
    """A new job with this one's spec and options, from the start; `spec` (resolved) and `changes` replace them."""
    options = {name: getattr(job, name) for name in _KEPT} | changes
    return create_job(by, spec or parse_spec(job.spec), parent=job, **options)
