"""Takes a trainer's events and printed lines in, and stores them in batches, in order.

Every write is fenced by the lease and may be repeated, so a lost connection to Postgres costs time, not records.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction
from psycopg import errors as postgres

from service.jobs import checkpoints
from service.jobs.errors import StorageFull
from service.jobs.heartbeat import Hold
from service.jobs.history import announce, record_event
from service.jobs.lease import lock
from service.jobs.logs import clean, last_number, store_log
from service.jobs.metrics import finite, store_diagnostics, store_metrics
from service.jobs.models import Artefact
from trainers import events

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
FLUSH_ROWS = 1_000
RETRY_SECONDS = 0.2
ARTEFACT_BYTES = 16 << 20

T = TypeVar("T")


class Recorder:
    """The records of one attempt."""

    def __init__(self, hold: Hold, *, check: Callable[[], object]) -> None:
        """check: called before each write; raises to give up."""
        self.lease = hold.lease
        self.check = check
        self.progress: dict[str, Any] = {}
        self.last_step: int | None = None
        """Of the newest checkpoint that is stored."""
        self._metrics: list[events.Metrics] = []
        self._diagnostics: list[events.Diagnostics] = []
        self._lines: list[str] = []
        self._logged: int | None = None  # number of the last line stored; read once the job is rewound
        self._progress_is_new = False
        self._since: float | None = None
        self._kept_file: Path | None = None

    # Taking in -------------------------------------------------------------------------------------------------------

    def take(self, event: events.Event) -> None:
        """Any event but those that end a run, and checkpoints."""
        match event:
            case events.Started():
                self._begin(event)
            case events.Metrics():
                self._metrics.append(event)
                self.progress["epoch"] = event.epoch
                self.progress["step"] = event.step
                self._progress_is_new = True
            case events.Progress():
                self.progress = event.model_dump(mode="json", exclude={"event"})
                self._progress_is_new = True
            case events.Diagnostics():
                self._diagnostics.append(event)
            case events.Finding():
                self._tell("finding", event.model_dump(mode="json", exclude={"event"}))
            case events.Artefact():
                self._store_artefact(event)
        self._count()

    def take_line(self, line: bytes) -> None:
        """One printed line."""
        self._lines.append(clean(line))
        self._count()

    def _count(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
        if len(self._metrics) + len(self._diagnostics) + len(self._lines) >= FLUSH_ROWS:
            self.flush()

    @property
    def due_in(self) -> float | None:
        """Seconds until the next flush; None while there is nothing to store."""
        return None if self._since is None else max(0.0, self._since + FLUSH_SECONDS - time.monotonic())

    # Storing ---------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Store what has come so far. Raises LeaseLost, StorageFull."""
        self._since = None
        if self._metrics:
            self.persist(lambda: store_metrics(self.lease, self._metrics))
            self._metrics = []
        if self._diagnostics:
            self.persist(lambda: store_diagnostics(self.lease, self._diagnostics))
            self._diagnostics = []
        if self._lines:
            if self._logged is None:
                self._logged = self.persist(lambda: last_number(self.lease.job))
            first = self._logged + 1
            self.persist(lambda: store_log(self.lease, first, self._lines))
            self._logged += len(self._lines)
            self._lines = []
        if self._progress_is_new:
            self.persist(self._store_progress)
            self._progress_is_new = False

    def store_checkpoint(self, saved: events.CheckpointSaved) -> None:
        """The file that the trainer has written, after all that came before it. Raises LeaseLost, StorageFull."""
        self.flush()
        checkpoint = self.persist(lambda: checkpoints.begin(self.lease, saved))
        number = 0
        with Path(saved.path).open("rb") as file:
            for chunks in checkpoints.file_chunks(file):
                first = number
                self.persist(lambda: checkpoints.write_chunks(self.lease, checkpoint.id, first, chunks))  # noqa: B023
                number += len(chunks)
        self.persist(lambda: checkpoints.publish(self.lease, checkpoint, list(saved.kinds)))
        self.last_step = saved.step
        self.drop_file(saved)

    def drop_file(self, saved: events.CheckpointSaved) -> None:
        """Its file is no longer needed, once there is a newer one: a trainer looks back at its last."""
        path = Path(saved.path)
        if self._kept_file is not None and self._kept_file != path:
            with contextlib.suppress(OSError):
                self._kept_file.unlink(missing_ok=True)
        self._kept_file = path

    def _begin(self, started: events.Started) -> None:
        spec = started.spec
        self.progress = {
            "fraction": started.resumed_at / started.steps if started.steps else 0.0,
            "epoch": 0,
            "epochs": spec["training"]["epochs"],
            "step": started.resumed_at,
            "steps": started.steps,
            "eta_seconds": None,
            "samples_per_second": None,
        }
        self._progress_is_new = True
        self._tell("started", started.model_dump(mode="json", exclude={"event", "spec"}))

    def _tell(self, type: str, data: dict[str, Any]) -> None:
        def write() -> None:
            with transaction.atomic():
                lock(self.lease)
                record_event(self.lease.job, type, {**finite(data), "attempt": self.lease.attempt})

        self.persist(write)

    def _store_progress(self) -> None:
        shown = json.dumps(finite(self.progress))
        with transaction.atomic(), connection.cursor() as cursor:
            lock(self.lease)
            cursor.execute("UPDATE jobs_job SET progress = %s WHERE id = %s", [shown, self.lease.job])
            announce(self.lease.job, "progress", shown)

    def _store_artefact(self, made: events.Artefact) -> None:
        path = Path(made.path)
        if path.stat().st_size > ARTEFACT_BYTES:
            sentence = f"{made.name} was not kept: it has more than {ARTEFACT_BYTES >> 20} MiB."
            self._tell("finding", {"code": "artefact_too_large", "sentence": sentence})
            return
        content = path.read_bytes()
        described = {"media_type": made.media_type, "description": made.description}

        def write() -> None:
            with transaction.atomic():
                lock(self.lease)
                Artefact.objects.update_or_create(
                    job_id=self.lease.job, name=made.name, defaults={**described, "content": content}
                )
                record_event(
                    self.lease.job, "artefact", {"name": made.name, **described, "attempt": self.lease.attempt}
                )

        self.persist(write)

    def persist(self, write: Callable[[], T]) -> T:
        """Do a write, again and again while Postgres is away. Raises StorageFull, LeaseLost, and what check does."""
        told = False
        while True:
            self.check()
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                if isinstance(error.__cause__, postgres.DiskFull):
                    raise StorageFull("The database has no room left for what this job stores.") from error
                if not told:
                    logger.warning("Job %s waits for the database: %s", self.lease.job, error)
                told = True
                connection.close()
                time.sleep(RETRY_SECONDS)
