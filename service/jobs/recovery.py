"""What a claim finds of earlier attempts: the newest whole checkpoint, and records that lie past it.

Those are removed, and the summaries restored that were saved with it, so that curves and logs go on as if nothing
had happened. A checkpoint whose stored bytes are damaged is dropped for the one before it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import transaction

from service.jobs.checkpoints import write_to
from service.jobs.errors import CheckpointCorrupt
from service.jobs.history import record_event
from service.jobs.lease import Lease, lock
from service.jobs.metrics import rewind_metrics
from service.jobs.models import Checkpoint, Diagnostic, Job, LogLine

Check = Callable[[], object]


def prepare(lease: Lease, job: Job, path: Path, *, check: Check) -> bool:
    """Write the file to go on from to `path`, if there is one, and rewind the job's records to it.

    check: called between pieces; raises to give up. Raises CheckpointCorrupt where the job was to start from another
    job's checkpoint and that is damaged, StorageFull, LeaseLost.
    """
    checkpoint = newest_whole(lease, job, path, check=check)
    rewind(lease, checkpoint)
    if checkpoint is not None:
        return True
    if job.start_from_checkpoint is not None:
        write_to(job.start_from_checkpoint, path, still_wanted=check)
        return True
    return False


def newest_whole(lease: Lease, job: Job, path: Path, *, check: Check) -> Checkpoint | None:
    """The newest checkpoint of the job that is what was written, now at `path`; damaged ones are dropped."""
    for checkpoint in Checkpoint.objects.published().filter(job=job):
        try:
            write_to(checkpoint, path, still_wanted=check)
        except CheckpointCorrupt as error:
            drop_damaged(lease, checkpoint, error.sentence)
        else:
            return checkpoint
    return None


def drop_damaged(lease: Lease, checkpoint: Checkpoint, sentence: str) -> None:
    """Remove a checkpoint that cannot be read, and say so in the job's events."""
    with transaction.atomic():
        lock(lease)
        record_event(
            lease.job,
            "checkpoint_damaged",
            {"checkpoint": str(checkpoint.id), "step": checkpoint.step, "sentence": sentence, "attempt": lease.attempt},
        )
        checkpoint.delete()


def rewind(lease: Lease, checkpoint: Checkpoint | None) -> None:
    """Remove all that was recorded past `checkpoint`: points, diagnostics, log lines, other checkpoints."""
    marks: dict[str, Any] = checkpoint.marks if checkpoint is not None else {}
    with transaction.atomic():
        lock(lease)
        rewind_metrics(lease.job, marks.get("summaries", []))
        Diagnostic.objects.filter(job_id=lease.job, step__gt=marks.get("diagnosed", -1)).delete()
        LogLine.objects.filter(job_id=lease.job, number__gt=marks.get("logged", 0)).delete()
        Checkpoint.objects.filter(job_id=lease.job, published_at__isnull=True).delete()
        if checkpoint is not None and "last" not in checkpoint.kinds:  # a newer one was damaged
            _add_kind(checkpoint.id, "last")
        if (best := marks.get("best")) is not None:
            _add_kind(best, "best")


def _add_kind(checkpoint: Any, kind: str) -> None:
    row = Checkpoint.objects.filter(pk=checkpoint).first()
    if row is not None and kind not in row.kinds:
        row.kinds = sorted([*row.kinds, kind])
        row.save(update_fields=["kinds"])
