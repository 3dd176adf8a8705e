"""Who a worker is, and that it lives: one row per start, renewed by its heartbeat."""

import datetime
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import uuid_utils.compat as uuid
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from service.jobs.models import Worker
from service.jobs.queue import Capacity

SILENT_BEATS = 4
"""A worker that has missed so many heartbeats is not shown as alive."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A worker from its start to its end. The id is new each time: a reused one would hide the jobs of the dead."""

    id: UUID
    name: str
    queues: tuple[str, ...]
    device: str
    device_name: str
    cores: int
    threads: int

    @classmethod
    def new(
        cls,
        name: str,
        *,
        queues: tuple[str, ...] = ("cpu",),
        device: str = "cpu",
        device_name: str = "",
        cores: int | None = None,
        workers_on_machine: int = 1,
    ) -> "Identity":
        cores = cores or usable_cores()
        threads = max(1, cores // workers_on_machine)
        return cls(uuid.uuid7(), name, queues, device, device_name, cores, threads)

    @classmethod
    def from_environment(cls) -> "Identity":
        """As the variables say that whoever starts a worker sets.

        ALTPROP_WORKER_NAME (else host and number), ALTPROP_WORKER_QUEUES (comma-separated, else the usual queue),
        ALTPROP_WORKERS_ON_MACHINE (1), and CUDA_VISIBLE_DEVICES: a GPU there makes this a worker for CUDA.
        """
        named = os.environ.get("ALTPROP_WORKER_QUEUES", settings.ALTPROP_DEFAULT_QUEUE)
        queues = tuple(filter(None, (queue.strip() for queue in named.split(","))))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        has_gpu = visible not in ("", "-1") if visible is not None else "gpu" in queues
        return cls.new(
            os.environ.get("ALTPROP_WORKER_NAME") or f"{socket.gethostname()}-{os.getpid()}",
            queues=queues,
            device="cuda" if has_gpu else "cpu",
            device_name=visible or "" if has_gpu else "",
            workers_on_machine=int(os.environ.get("ALTPROP_WORKERS_ON_MACHINE", "1")),
        )

    @property
    def capacity(self) -> Capacity:
        """What it claims."""
        return Capacity(self.id, self.name, self.queues, self.device, self.cores, self.threads)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, or less where a container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no such limit
    return cores


def show(identity: Identity, *, job: UUID | None) -> None:
    """Say that this worker lives, and what it does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_worker (id, name, host, pid, queues, device, device_name, cores, threads, job_id)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, (SELECT id FROM jobs_job WHERE id = %s))
            ON CONFLICT (id) DO UPDATE SET last_seen = now(), job_id = EXCLUDED.job_id
            """,
            [
                identity.id,
                identity.name,
                socket.gethostname(),
                os.getpid(),
                list(identity.queues),
                identity.device,
                identity.device_name,
                identity.cores,
                identity.threads,
                job,
            ],
        )


def say_goodbye(identity: Identity) -> None:
    """This worker ends in good order."""
    Worker.objects.filter(pk=identity.id).update(stopped_at=Now(), job=None)


def live_workers() -> list[Worker]:
    """Those that have shown themselves lately and have not said goodbye."""
    silent = datetime.timedelta(seconds=SILENT_BEATS * settings.ALTPROP_HEARTBEAT_SECONDS)
    return list(Worker.objects.filter(stopped_at__isnull=True, last_seen__gt=Now() - silent))
