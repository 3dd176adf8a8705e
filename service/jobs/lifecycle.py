"""Every change of a job's state, each a named function that checks, writes and records in one transaction.

    by users        create_job, request_cancel, request_pause, resume, delete      (TransitionRefused)
    by its worker   succeed, fail, finish_pause, finish_cancel, hand_back, lose_trainer      (LeaseLost)
    by the reaper   lose_worker, expire

The claim, queued → running, is one statement of SQL and stands in queue.py. New jobs made from old ones (retry,
clone) are in descent.py.
"""

import datetime
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Now

from service.jobs import dispatch
from service.jobs.errors import TransitionRefused
from service.jobs.history import record_move
from service.jobs.lease import Lease, held
from service.jobs.models import Checkpoint, Job
from service.jobs.states import HELD, TERMINAL, Reason, State, allowed
from trainers.spec import TrainingSpec

BACKOFF_SECONDS = 1.0  # after the first killed trainer; doubled at each further one
LONGEST_BACKOFF_SECONDS = 300.0

# By users ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_job(
    owner: Any,
    spec: TrainingSpec,
    *,
    name: str = "",
    tags: Sequence[str] = (),
    priority: int = 0,
    queue: str | None = None,
    max_failures: int = 3,
    max_seconds: float | None = None,
    max_pending_seconds: float | None = None,
    not_before: datetime.datetime | None = None,
    start_from_checkpoint: Checkpoint | None = None,
    parent: Job | None = None,
    experiment: UUID | None = None,
    announced: bool = True,
) -> Job:
    """A queued job that trains `spec`, which is resolved; workers hear of it when the transaction commits.

    queue: by default that of the spec's device, or the service's usual one where the device is open.
    announced: False where the caller rings for many jobs at once.
    """
    training = spec.training
    device = training.device if training.device != "auto" else None
    job = Job(
        owner=owner,
        name=name,
        tags=list(tags),
        priority=priority,
        queue=queue or default_queue(spec),
        spec=spec.model_dump(mode="json"),
        algorithm=spec.algorithm,
        dataset=spec.dataset,
        device=device,
        threads=training.threads,
        sentence="Waiting for a worker.",
        max_failures=max_failures,
        max_seconds=max_seconds,
        max_pending_seconds=max_pending_seconds,
        not_before=not_before,
        start_from_checkpoint=start_from_checkpoint,
        parent=parent,
        experiment=experiment,
    )
    job.save(force_insert=True)
    job.refresh_from_db()
    record_move(job, origin=None, by=_who(owner))
    if announced:
        _ring(job)
    return job


def default_queue(spec: TrainingSpec) -> str:
    """Where a job waits that names no queue."""
    return {"cpu": "cpu", "cuda": "gpu", "auto": settings.ALTPROP_DEFAULT_QUEUE}[spec.training.device]


@transaction.atomic
def request_cancel(job: Job, *, by: Any) -> Job:
    """queued, paused → cancelled; running, pausing → cancelling, which its worker ends within seconds."""
    job = _locked(job)
    match job.state:
        case State.RUNNING | State.PAUSING:
            return _move(job, State.CANCELLING, Reason.REQUESTED, "Being cancelled.", by=by)
        case State.QUEUED | State.PAUSED:
            return _move(job, State.CANCELLED, Reason.REQUESTED, "Cancelled before it was done.", by=by)
    raise _refusal(job, State.CANCELLED)


@transaction.atomic
def request_pause(job: Job, *, by: Any) -> Job:
    """queued → paused; running → pausing: its worker saves a checkpoint first."""
    job = _locked(job)
    match job.state:
        case State.RUNNING:
            return _move(job, State.PAUSING, Reason.REQUESTED, "Saving a checkpoint, then pausing.", by=by)
        case State.QUEUED:
            sentence = "Paused while it waited; resuming queues it again."
            return _move(job, State.PAUSED, Reason.REQUESTED, sentence, by=by)
    raise _refusal(job, State.PAUSED)


@transaction.atomic
def resume(job: Job, *, by: Any) -> Job:
    """paused → queued: it goes on from its last checkpoint, at the end of its queue."""
    job = _locked(job)
    if job.state != State.PAUSED:
        raise _refusal(job, State.QUEUED)
    job = _move(job, State.QUEUED, Reason.RESUMED, "Resumed; waiting for a worker.", by=by, queued_at=Now())
    _ring(job)
    return job


@transaction.atomic
def delete(job: Job) -> None:
    """Remove a job that no worker holds, with all that it stored."""
    job = _locked(job)
    if job.is_held:
        raise TransitionRefused(f"This job is {job.state}: cancel it first, then delete it once it has ended.")
    heir = Job.objects.filter(start_from_checkpoint__job=job).exclude(state__in=TERMINAL).first()
    if heir is not None:
        raise TransitionRefused(f"Job {heir.id} starts from a checkpoint of this one: wait until it has ended.")
    # Points have no foreign key, which would be looked up for each of millions of rows.
    from service.jobs.metrics import delete_points

    delete_points(job.id)
    job.delete()


# By its worker -------------------------------------------------------------------------------------------------------


@transaction.atomic
def succeed(lease: Lease, result: dict[str, Any], *, progress: dict[str, Any], seconds_trained: float) -> Job:
    """running, pausing, cancelling → succeeded: the trainer ended first, and its result is stored."""
    job = held(lease)
    return _move(
        job,
        State.SUCCEEDED,
        Reason.COMPLETED,
        "Trained to its end.",
        by=_worker(job),
        result=result,
        progress=progress,
        seconds_trained=seconds_trained,
    )


@transaction.atomic
def fail(
    lease: Lease, reason: Reason, sentence: str, *, detail: dict[str, Any] | None = None, seconds_trained: float
) -> Job:
    """running, pausing → failed, for a reason that trying again would not cure; cancelling → cancelled."""
    job = held(lease)
    if job.state == State.CANCELLING:
        return _cancelled(job, by=_worker(job))
    failure = {"reason": reason, "sentence": sentence, **(detail or {})}
    return _move(job, State.FAILED, reason, sentence, by=_worker(job), failure=failure, seconds_trained=seconds_trained)


@transaction.atomic
def finish_pause(lease: Lease, *, step: int, seconds_trained: float) -> Job:
    """pausing → paused: the trainer has saved and exited."""
    job = held(lease, State.PAUSING)
    sentence = f"Paused at step {step:,}; resuming goes on from there."
    return _move(job, State.PAUSED, Reason.REQUESTED, sentence, by=_worker(job), seconds_trained=seconds_trained)


@transaction.atomic
def finish_cancel(lease: Lease) -> Job:
    """cancelling → cancelled: the trainer is gone."""
    job = held(lease, State.CANCELLING)
    return _cancelled(job, by=_worker(job))


@transaction.atomic
def hand_back(lease: Lease, *, step: int | None, seconds_trained: float) -> Job:
    """running → queued, no failure: the worker stops in good order and the job goes on elsewhere.

    A job that was to be paused is paused, one that was to be cancelled is cancelled.
    """
    job = held(lease)
    if job.state == State.CANCELLING:
        return _cancelled(job, by=_worker(job))
    if job.state == State.PAUSING:
        return finish_pause(lease, step=step or 0, seconds_trained=seconds_trained)
    where = f"at step {step:,}" if step is not None else "before it had begun"
    sentence = f"Worker {job.worker_name} stopped in good order {where}; another one goes on from there."
    job = _move(job, State.QUEUED, Reason.WORKER_STOPPING, sentence, by=_worker(job), seconds_trained=seconds_trained)
    _ring(job)
    return job


@transaction.atomic
def lose_trainer(lease: Lease, sentence: str, *, seconds_trained: float) -> Job:
    """The trainer process was killed by a signal: one failure more, and another try after a pause."""
    job = held(lease)
    return _lose(job, Reason.TRAINER_KILLED, sentence, by=_worker(job), seconds_trained=seconds_trained)


# By the reaper -------------------------------------------------------------------------------------------------------


@transaction.atomic
def lose_worker(job: Job) -> Job | None:
    """The lease ran out: one failure more, and the job goes on elsewhere. None if the job has moved on meanwhile."""
    row = (
        Job.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=job.pk, attempt=job.attempt, lease_until__lt=Now())
        .first()
    )
    if row is None:
        return None
    return _lose(row, Reason.WORKER_LOST, f"Worker {row.worker_name} was lost", by="reaper")


@transaction.atomic
def expire(job: Job) -> Job | None:
    """queued → failed: it waited longer than `max_pending_seconds`. None if the job has moved on meanwhile."""
    row = (
        Job.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=job.pk, state=State.QUEUED, state_at=job.state_at)
        .first()
    )
    if row is None:
        return None
    sentence = f"No worker took it within {row.max_pending_seconds:g} s (max_pending_seconds)."
    failure = {"reason": Reason.PENDING_TOO_LONG, "sentence": sentence}
    return _move(row, State.FAILED, Reason.PENDING_TOO_LONG, sentence, by="reaper", failure=failure)


@transaction.atomic
def withdraw_dataset(job: Job, sentence: str, *, by: Any) -> Job:
    """queued → failed: the data set that it waits to be trained on is gone."""
    job = _locked(job)
    if job.state != State.QUEUED:
        raise _refusal(job, State.FAILED)
    failure = {"reason": Reason.DATASET_UNAVAILABLE, "sentence": sentence}
    return _move(job, State.FAILED, Reason.DATASET_UNAVAILABLE, sentence, by=by, failure=failure)


# What they share -----------------------------------------------------------------------------------------------------


def _locked(job: Job) -> Job:
    return Job.objects.select_for_update(no_key=True).get(pk=job.pk)


def _move(job: Job, target: State, reason: Reason, sentence: str, *, by: Any, **changes: Any) -> Job:
    """Write the change and record it; `job` is locked. Raises TransitionRefused for one that is not in the table."""
    origin = State(job.state)
    if not allowed(origin, target):
        raise _refusal(job, target)
    changes |= {"state": target, "reason": reason, "sentence": sentence, "state_at": Now()}
    if target not in HELD:
        changes |= {"worker": None, "lease_until": None}
    if target in TERMINAL:
        changes["finished_at"] = Now()
    Job.objects.filter(pk=job.pk).update(**changes)
    job.refresh_from_db()
    record_move(job, origin=origin, by=_who(by))
    return job


def _cancelled(job: Job, *, by: str) -> Job:
    return _move(job, State.CANCELLED, Reason.REQUESTED, "Cancelled; its checkpoints so far are kept.", by=by)


def _lose(job: Job, reason: Reason, what: str, *, by: str, **changes: Any) -> Job:
    """A worker or trainer died under a job: where it goes depends on what was asked of it."""
    if job.state == State.CANCELLING:
        return _cancelled(job, by=by)
    changes["failures"] = F("failures") + 1
    failures = job.failures + 1
    if failures >= job.max_failures:
        sentence = f"{what}, for the {_ordinal(failures)} time (max_failures {job.max_failures})."
        failure = {"reason": reason, "sentence": sentence, "failures": failures}
        return _move(job, State.FAILED, reason, sentence, by=by, failure=failure, **changes)
    if job.state == State.PAUSING:
        sentence = f"{what} before it had saved; resuming goes on from its last checkpoint."
        return _move(job, State.PAUSED, reason, sentence, by=by, **changes)
    pause = 0.0
    if reason == Reason.TRAINER_KILLED:
        pause = min(BACKOFF_SECONDS * 2 ** (failures - 1), LONGEST_BACKOFF_SECONDS)
        changes["not_before"] = Now() + Value(datetime.timedelta(seconds=pause))
    sentence = f"{what}; it goes on from its last checkpoint" + (f" in {pause:g} s." if pause else ".")
    job = _move(job, State.QUEUED, reason, sentence, by=by, **changes)
    _ring(job)
    return job


def _ordinal(number: int) -> str:
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")


_HINTS = {
    State.QUEUED: "It waits for a worker.",
    State.RUNNING: "Pause or cancel it first.",
    State.PAUSING: "Wait until it is paused.",
    State.PAUSED: "Resume it first.",
    State.CANCELLING: "It is being cancelled: wait until it has ended.",
    State.SUCCEEDED: "It has ended; clone it to run it again.",
    State.FAILED: "It has ended; retry it, or clone it to change it.",
    State.CANCELLED: "It has ended; retry it to go on, or clone it.",
}


def _refusal(job: Job, target: State) -> TransitionRefused:
    wanted = {
        State.PAUSED: "paused",
        State.CANCELLED: "cancelled",
        State.QUEUED: "resumed",
    }.get(target, target.value)
    return TransitionRefused(f"A job that is {job.state} cannot be {wanted}. {_HINTS[State(job.state)]}")


def _ring(job: Job) -> None:
    """Tell a worker, once this is committed."""
    transaction.on_commit(lambda: dispatch.ring(job.queue))


def _who(by: Any) -> str:
    return by if isinstance(by, str) else str(by.get_username())


def _worker(job: Job) -> str:
    return f"worker {job.worker_name}"
