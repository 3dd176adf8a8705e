"""Checkpoints in and out of Postgres, never whole in memory.

In: an unpublished row, chunks of 1 MiB in fenced transactions of at most 16 MiB, then published; so no long
transaction holds up heartbeats, wishes or the claims of others. Out: chunk by chunk, each checked against its sum.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import psycopg
from django.db import connection, transaction
from django.db.models.functions import Now

from service.jobs.errors import CheckpointCorrupt, StorageFull
from service.jobs.history import record_event
from service.jobs.lease import Lease, lock
from service.jobs.logs import last_number
from service.jobs.metrics import read_summaries
from service.jobs.models import Checkpoint, Diagnostic
from trainers.events import CheckpointSaved

CHUNK_BYTES = 1 << 20  # larger ones are slower both ways
CHUNKS_A_TRANSACTION = 16

# In ------------------------------------------------------------------------------------------------------------------


def begin(lease: Lease, saved: CheckpointSaved) -> Checkpoint:
    """An unpublished row for the file that a trainer has saved. Raises LeaseLost."""
    with transaction.atomic():
        lock(lease)
        return Checkpoint.objects.create(
            job_id=lease.job,
            attempt=lease.attempt,
            epoch=saved.epoch,
            step=saved.step,
            passes=saved.passes,
            samples=saved.samples,
            seconds=saved.seconds,
            metrics=saved.metrics,
            kinds=[],
            bytes=saved.bytes,
            sha256=saved.sha256,
        )


def write_chunks(lease: Lease, checkpoint: UUID, first: int, chunks: list[bytes]) -> None:
    """One fenced transaction's worth of bytes; may be repeated. Raises LeaseLost."""
    with transaction.atomic(), connection.wrap_database_errors, connection.cursor() as cursor:
        lock(lease)
        cursor.execute(
            "DELETE FROM jobs_checkpointchunk WHERE checkpoint_id = %s AND number >= %s", [checkpoint, first]
        )
        with cursor.copy(
            "COPY jobs_checkpointchunk (checkpoint_id, number, sha256, data) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["uuid", "int4", "bytea", "bytea"])
            for number, data in enumerate(chunks, first):
                copy.write_row((checkpoint, number, hashlib.sha256(data).digest(), data))


def publish(lease: Lease, checkpoint: Checkpoint, kinds: list[str]) -> None:
    """Make it visible, with how far metrics, diagnostics and logs have come. Raises LeaseLost.

    The newest one alone is `last`, the newest `best` alone is best; a checkpoint left without a kind may be removed.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        lock(lease)
        for kind in {"last", *kinds} - {"milestone"}:
            cursor.execute(
                "UPDATE jobs_checkpoint SET kinds = array_remove(kinds, %s)"
                " WHERE job_id = %s AND id <> %s AND %s = ANY(kinds)",
                [kind, lease.job, checkpoint.id, kind],
            )
        marks = marks_of(lease.job)
        if "best" in kinds:
            marks["best"] = str(checkpoint.id)
        Checkpoint.objects.filter(pk=checkpoint.id).update(
            kinds=sorted({"last", *kinds}), marks=marks, published_at=Now()
        )
        record_event(
            lease.job,
            "checkpoint",
            {
                "checkpoint": str(checkpoint.id),
                "step": checkpoint.step,
                "epoch": checkpoint.epoch,
                "kinds": sorted({"last", *kinds}),
                "bytes": checkpoint.bytes,
                "attempt": lease.attempt,
            },
        )


def marks_of(job: UUID) -> dict[str, Any]:
    """How far a job's records have come: what a later resume rewinds to."""
    diagnosed = Diagnostic.objects.filter(job_id=job).order_by("-step").values_list("step", flat=True).first()
    best = Checkpoint.objects.published().filter(job_id=job, kinds__contains=["best"]).values_list("id", flat=True)
    return {
        "summaries": [asdict(summary) for summary in read_summaries(job)],
        "diagnosed": -1 if diagnosed is None else diagnosed,
        "logged": last_number(job),
        "best": str(best[0]) if best else None,
    }


def file_chunks(file: BinaryIO) -> Iterator[list[bytes]]:
    """The file in lists of chunks, one list a transaction."""
    while True:
        chunks: list[bytes] = []
        while len(chunks) < CHUNKS_A_TRANSACTION and (data := file.read(CHUNK_BYTES)):
            chunks.append(data)
        if not chunks:
            return
        yield chunks


# Out -----------------------------------------------------------------------------------------------------------------


def read(checkpoint: Checkpoint, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
    """The bytes [start, stop) piece by piece, each checked. Raises CheckpointCorrupt, maybe after some pieces."""
    stop = checkpoint.bytes if stop is None else min(stop, checkpoint.bytes)
    for number in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)):
        chunk = _chunk(checkpoint, number)
        low = max(start - number * CHUNK_BYTES, 0)
        high = min(stop - number * CHUNK_BYTES, len(chunk))
        yield memoryview(chunk)[low:high]


def _chunk(checkpoint: Checkpoint, number: int) -> bytes:
    connection.ensure_connection()
    # Binary: as text a chunk takes three to five times as long.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(
            "SELECT data, sha256 FROM jobs_checkpointchunk WHERE checkpoint_id = %s AND number = %s",
            [checkpoint.id, number],
            binary=True,
        )
        row = cursor.fetchone()
    expected = min(CHUNK_BYTES, checkpoint.bytes - number * CHUNK_BYTES)
    if row is None or len(row[0]) != expected or hashlib.sha256(row[0]).digest() != bytes(row[1]):
        what = "is missing" if row is None else "is not what was written"
        raise CheckpointCorrupt(
            f"Checkpoint {checkpoint.id} (step {checkpoint.step:,}) is damaged: its chunk {number} {what}."
        )
    return bytes(row[0])


def write_to(checkpoint: Checkpoint, path: Path, *, still_wanted: Callable[[], object] = lambda: None) -> None:
    """The whole checkpoint as a file, its SHA-256 checked. Raises CheckpointCorrupt, StorageFull."""
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for piece in read(checkpoint):
                still_wanted()
                digest.update(piece)
                file.write(piece)
    except OSError as error:
        raise StorageFull(f"A checkpoint of {checkpoint.bytes:,} bytes cannot be written: {error.strerror}.") from error
    if digest.hexdigest() != checkpoint.sha256:
        raise CheckpointCorrupt(f"Checkpoint {checkpoint.id} (step {checkpoint.step:,}) is damaged: its sum is wrong.")
