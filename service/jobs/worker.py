"""This process as a worker: what a pool child of Celery keeps from its start to its end.

Importing this module wires it into Celery (service.jobs.tasks does):

    celeryd_init             a worker of threads may fetch ahead
    worker_process_init      the child becomes a worker, its first trainer begins to warm up
    worker_shutting_down     the main process tells its children to save what they train and hand it back
    worker_process_shutdown  the child says goodbye
"""

import contextlib
import logging
import os
import signal
from types import TracebackType
from typing import Any

from billiard.process import active_children
from celery import signals
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from service.jobs.heartbeat import Heartbeat
from service.jobs.presence import Identity, say_goodbye
from service.jobs.scratch import Scratch
from service.jobs.software import software
from service.jobs.supervisor import train_next
from service.jobs.trainer_process import Bench

logger = logging.getLogger(__name__)

STOP_SIGNAL = signal.SIGUSR2


class ThisWorker:
    """A worker at work; make it in the main thread of its process."""

    def __init__(self, identity: Identity, bench: Bench | None = None) -> None:
        """bench: with a trainer that is warm already; it becomes ours."""
        connection_created.connect(end_frozen_transactions)
        connection.close()  # the next one is made with that
        software()  # now, while the files are those that this process has loaded
        self.identity = identity
        self.stopping = False
        self.scratch = Scratch(identity.id)
        self.heartbeat = Heartbeat(identity)
        self.bench = bench or Bench()
        self.bench.warm()

    def stop(self) -> None:
        """Save what is trained, hand it back, claim nothing more. Also from a signal handler."""
        self.stopping = True
        self.heartbeat.wake()

    def answer(self) -> int:
        """Train jobs until none is left or we are to stop; returns how many."""
        trained = 0
        while not self.stopping and train_next(self):
            trained += 1
        return trained

    def close(self) -> None:
        self.bench.close()
        self.heartbeat.stop()
        self.scratch.close()
        connection_created.disconnect(end_frozen_transactions)
        with contextlib.suppress(DatabaseError):
            say_goodbye(self.identity)

    def __enter__(self) -> "ThisWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def end_frozen_transactions(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Have the database end what a worker began that then froze: it would hold its job's row against the reaper."""
    with connection.cursor() as cursor:
        milliseconds = int(settings.ALTPROP_LEASE_SECONDS * 1000)
        cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", [str(milliseconds)])


_this: ThisWorker | None = None


def answer_doorbell() -> None:
    """Train what there is; nothing in a process that is no worker."""
    if _this is not None:
        _this.answer()


@signals.celeryd_init.connect(weak=False)
def let_threads_fetch_ahead(conf: Any, options: dict[str, Any], **_: Any) -> None:
    """The loop of a worker of threads looks only every two seconds for a message that it has put off fetching."""
    if "thread" in str(options.get("pool")):  # its name, or the class that it stands for
        conf.worker_disable_prefetch = False


@signals.worker_process_init.connect(weak=False)
def become_worker(**_: Any) -> None:
    """In a pool child, which has four seconds for this: nothing here waits."""
    global _this
    _this = ThisWorker(Identity.from_environment())
    signal.signal(STOP_SIGNAL, lambda number, frame: _this.stop() if _this is not None else None)


@signals.worker_shutting_down.connect(weak=False)
def stop_children(**_: Any) -> None:
    """In the main process, when it is asked to stop in good order."""
    for child in active_children():
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, STOP_SIGNAL)


@signals.worker_process_shutdown.connect(weak=False)
def cease(**_: Any) -> None:
    """In a pool child that ends."""
    global _this
    if _this is not None:
        _this.close()
        _this = None
    connection.close()
