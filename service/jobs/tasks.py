"""What Celery calls: one line each. A message carries nothing; what is to be done stands in Postgres.

While Postgres is away there is nothing to do: the next message comes soon.
"""

import contextlib
import logging
from collections.abc import Iterator

from django.db import InterfaceError, OperationalError, connection

from service.celery import app
from service.jobs import dispatch as dispatching
from service.jobs import reaper, retention, worker

logger = logging.getLogger(__name__)


@app.task
def ring() -> None:
    """There may be work in this worker's queues."""
    with _unless_database_is_away("claim"):
        worker.answer_doorbell()


@app.task
def dispatch() -> None:
    """Ring in every queue where a job waits."""
    with _unless_database_is_away("dispatch"):
        dispatching.dispatch()


@app.task
def reap() -> None:
    """Free the jobs of lost workers, and fail those that waited too long."""
    with _unless_database_is_away("reap"):
        reaper.reap()


@app.task
def retain() -> None:
    """Remove checkpoints that no rule keeps."""
    with _unless_database_is_away("retain"):
        retention.retain()


@contextlib.contextmanager
def _unless_database_is_away(what: str) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        logger.warning("No %s: the database cannot be reached: %s", what, error)
        connection.close()
