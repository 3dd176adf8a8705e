"""A worker's heartbeat: shows that it lives, renews the lease of the job it holds, and reads what is wished of it.

A thread with a connection of its own, so that neither a long store nor a stuck trainer lets the lease run out.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from service.jobs import lease as leases
from service.jobs.errors import LeaseLost
from service.jobs.lease import Lease
from service.jobs.presence import Identity, show
from service.jobs.states import State

logger = logging.getLogger(__name__)


class Hold:
    """A job in our hands, as the heartbeat last saw it."""

    def __init__(self, lease: Lease, *, seconds_before: float, wake: int) -> None:
        self.lease = lease
        self.state = State.RUNNING
        self.lost = False
        self._seconds_before, self._wake = seconds_before, wake
        self._began: float | None = None

    def start_clock(self) -> None:
        """Training begins now."""
        self._began = time.monotonic()

    @property
    def seconds_trained(self) -> float:
        """Over all attempts."""
        return self._seconds_before + (time.monotonic() - self._began if self._began is not None else 0.0)

    def check(self) -> None:
        """Raises LeaseLost if the job is no longer ours."""
        if self.lost:
            raise LeaseLost(f"Attempt {self.lease.attempt} of job {self.lease.job} no longer holds it.")

    def see(self, state: State | None) -> None:
        """What the database says of the job; None: it is no longer ours."""
        if state is None:
            self.lost = True
        elif state != self.state:
            self.state = state
        else:
            return
        wake_up(self._wake)


def wake_up(pipe: int) -> None:
    """Write into a pipe that somebody waits at; it may be full of wake-ups already."""
    with contextlib.suppress(BlockingIOError):
        os.write(pipe, b".")


class Heartbeat:
    """The thread, and the pipe by which it wakes whoever waits for the trainer."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._hold: Hold | None = None
        self._end = threading.Event()
        self._changed = threading.Lock()  # around one beat: a hold is never seen after it was let go
        self.awake, self._wake = os.pipe()
        os.set_blocking(self.awake, False)
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Also from a signal handler."""
        wake_up(self._wake)

    def drain(self) -> None:
        """Take the wake-ups so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.awake, 4096):
                pass

    @contextlib.contextmanager
    def holding(self, lease: Lease, *, seconds_before: float) -> Iterator[Hold]:
        """Keep this lease alive within the block."""
        hold = Hold(lease, seconds_before=seconds_before, wake=self._wake)
        with self._changed:
            self._hold = hold
        try:
            yield hold
        finally:
            with self._changed:
                self._hold = None
            self.drain()

    def stop(self) -> None:
        """End the thread and close the pipe."""
        self._end.set()
        self._thread.join()
        os.close(self._wake)
        os.close(self.awake)

    def _run(self) -> None:
        shown = renewed = float("-inf")
        away = False
        while not self._end.wait(settings.ALTPROP_WISHES_SECONDS):
            now = time.monotonic()
            try:
                with self._changed:
                    hold = self._hold
                    if hold is not None and now - renewed >= settings.ALTPROP_HEARTBEAT_SECONDS:
                        hold.see(leases.renew(hold.lease, seconds_trained=hold.seconds_trained))
                        renewed = now
                    elif hold is not None:
                        hold.see(leases.wish(hold.lease))
                if now - shown >= settings.ALTPROP_HEARTBEAT_SECONDS:
                    show(self._identity, job=hold.lease.job if hold is not None and not hold.lost else None)
                    shown = now
                if away:
                    logger.warning("Worker %s reaches the database again", self._identity.name)
                away = False
            except (OperationalError, InterfaceError) as error:
                if not away:
                    logger.warning("Worker %s does not reach the database: %s", self._identity.name, error)
                away = True
                connection.close()
        connection.close()
