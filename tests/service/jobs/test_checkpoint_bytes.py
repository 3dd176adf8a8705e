"""Checkpoints in chunks: whole or not at all, read in ranges, kept by rule."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from service.jobs import checkpoints, lifecycle, retention
from service.jobs.errors import CheckpointCorrupt
from service.jobs.lease import Lease
from service.jobs.models import Checkpoint, CheckpointChunk, Job
from service.jobs.presence import Identity
from service.jobs.queue import claim
from trainers.events import CheckpointSaved

pytestmark = pytest.mark.django_db

CONTENT = bytes(range(256)) * 10_000 + b"the end"  # three chunks, the last one short


@pytest.fixture
def lease(make_job: Any) -> Lease:
    make_job()
    found = claim(Identity.new("cpu-1", cores=2).capacity)
    assert found is not None
    return found[1]


def unpublished(lease: Lease, step: int = 1, content: bytes = CONTENT) -> Checkpoint:
    saved = CheckpointSaved(
        step=step,
        epoch=1,
        passes=1,
        samples=1,
        seconds=1.0,
        path="",
        kinds=["last"],
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        metrics={},
    )
    row = checkpoints.begin(lease, saved)
    number = 0
    for chunks in checkpoints.file_chunks(io.BytesIO(content)):
        checkpoints.write_chunks(lease, row.id, number, chunks)
        number += len(chunks)
    return row


def stored(lease: Lease, step: int, *kinds: str) -> Checkpoint:
    row = unpublished(lease, step, b"bytes")
    checkpoints.publish(lease, row, list(kinds))
    return row


def kinds_of(lease: Lease) -> dict[int, list[str]]:
    return dict(Checkpoint.objects.filter(job_id=lease.job).values_list("step", "kinds"))


def test_it_is_seen_whole_or_not_at_all(lease: Lease) -> None:
    row = unpublished(lease)
    assert not Checkpoint.objects.published().exists()
    checkpoints.publish(lease, row, ["last"])
    assert b"".join(checkpoints.read(Checkpoint.objects.published().get())) == CONTENT
    assert Job.objects.get(pk=lease.job).events.last().type == "checkpoint"  # type: ignore[union-attr]


def test_a_repeated_write_leaves_each_chunk_once(lease: Lease) -> None:
    row = unpublished(lease)
    checkpoints.write_chunks(lease, row.id, 2, [CONTENT[2 << 20 :]])
    assert CheckpointChunk.objects.filter(checkpoint=row).count() == 3
    assert b"".join(checkpoints.read(row)) == CONTENT


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 5), (0, 1 << 20), ((1 << 20) - 1, (1 << 20) + 1), (2_560_000, None), (1, 10**9), (10**9, None)],
)
def test_any_range_of_it_is_read(lease: Lease, start: int, stop: int | None) -> None:
    row = unpublished(lease)
    assert b"".join(checkpoints.read(row, start, stop)) == CONTENT[start:stop]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            "UPDATE jobs_checkpointchunk SET data = set_byte(data, 9, 0) WHERE number = 1",
            "chunk 1 is not what was written",
        ),
        ("DELETE FROM jobs_checkpointchunk WHERE number = 2", "chunk 2 is missing"),
        ("UPDATE jobs_checkpointchunk SET data = substr(data, 2) WHERE number = 0", "chunk 0 is not what"),
        ("UPDATE jobs_checkpoint SET sha256 = repeat('0', 64)", "its sum is wrong"),
    ],
)
def test_damage_is_found_on_reading(lease: Lease, tmp_path: Path, damage: str, message: str) -> None:
    row = unpublished(lease)
    with connection.cursor() as cursor:
        cursor.execute(damage)
    row.refresh_from_db()
    with pytest.raises(CheckpointCorrupt, match=message):
        checkpoints.write_to(row, tmp_path / "file")


def test_one_is_last_and_one_is_best(lease: Lease) -> None:
    stored(lease, 1, "last", "best")
    stored(lease, 2, "last")
    stored(lease, 3, "milestone")
    assert kinds_of(lease) == {1: ["best"], 2: [], 3: ["last", "milestone"]}
    stored(lease, 4, "last", "best")
    assert kinds_of(lease) == {1: [], 2: [], 3: ["milestone"], 4: ["best", "last"]}


def test_what_no_rule_keeps_is_removed(lease: Lease) -> None:
    for step, kinds in enumerate([["best"], [], ["milestone"], [], [], []], 1):
        stored(lease, step, "last", *kinds)
    assert retention.retain() == 2
    assert sorted(kinds_of(lease)) == [1, 3, 5, 6]  # 5: what the job falls back to if 6 is damaged
    lifecycle.succeed(lease, {}, progress={}, seconds_trained=1.0)
    assert retention.retain() == 1
    assert sorted(kinds_of(lease)) == [1, 3, 6]
    assert CheckpointChunk.objects.count() == 3


def test_what_a_waiting_job_starts_from_is_kept(lease: Lease, make_job: Any) -> None:
    needed = stored(lease, 1, "last")
    for step in (2, 3, 4):
        stored(lease, step, "last")
    heir = make_job(start_from_checkpoint=needed)
    assert retention.retain() == 1
    assert sorted(kinds_of(lease)) == [1, 3, 4]
    lifecycle.request_cancel(heir, by="alice")
    assert retention.retain() == 1
    heir.refresh_from_db()
    assert heir.start_from_checkpoint is None
