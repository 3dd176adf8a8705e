"""A worker's part of a job, done by hand: claims and writes with the functions that the supervisor uses."""

import hashlib
from collections.abc import Mapping
from uuid import uuid4

import numpy as np
from safetensors.numpy import save

from service.jobs import checkpoints
from service.jobs.lease import Lease
from service.jobs.models import Checkpoint
from service.jobs.queue import Capacity, claim
from trainers.events import CheckpointSaved, Metrics


def claim_next() -> Lease:
    """The lease of the next job in the queue cpu."""
    capacity = Capacity(worker=uuid4(), name="tester", queues=("cpu",), device="cpu", cores=64, threads=1)
    claimed = claim(capacity)
    assert claimed is not None, "no job waits"
    return claimed[1]


def tensors(mebibytes: float = 2.5) -> bytes:
    """A safetensors file of about that size, its numbers from a fixed stream."""
    count = int(mebibytes * (1 << 20) / 4)
    return save({"layer1.weight": np.random.default_rng(0).standard_normal(count, dtype=np.float32)})


def store_checkpoint(lease: Lease, content: bytes, *, step: int = 10) -> Checkpoint:
    """A whole checkpoint of the job that is held."""
    saved = CheckpointSaved(
        step=step,
        epoch=1,
        passes=1,
        samples=step * 128,
        seconds=1.5,
        path="unused",
        kinds=["last", "best"],
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        metrics={"validation_accuracy": 0.9},
    )
    row = checkpoints.begin(lease, saved)
    size = checkpoints.CHUNK_BYTES
    pieces = [content[place : place + size] for place in range(0, len(content), size)]
    checkpoints.write_chunks(lease, row.pk, 0, pieces)
    checkpoints.publish(lease, row, ["best"])
    return row


def measured(step: int, values: Mapping[str, float | None]) -> Metrics:
    """An event of the trainer."""
    return Metrics(
        step=step, epoch=step // 100, passes=step // 100, samples=step * 128, seconds=step / 10, values=dict(values)
    )
