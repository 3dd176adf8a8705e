"""The Celery application: doorbells for the workers, periodic tasks for the maintenance worker.

Its settings are the CELERY_ ones in settings.py. Tasks are declared with `@app.task`, so that whoever
sends one has this application loaded.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")

# It warns of root because a message could carry code; ours are JSON without arguments that matter.
warnings.filterwarnings("ignore", category=SecurityWarning)
# It advertises, at every lost connection, a setting that settings.py makes.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

app = Celery("service")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


logger = logging.getLogger(__name__)


@contextlib.contextmanager
def unless_database_is_away(what: str) -> Iterator[None]:
    """A task whose clock comes round again loses nothing while the database cannot be reached."""
    from django.db import InterfaceError, OperationalError, connection

    try:
        yield
    except (OperationalError, InterfaceError) as error:
        logger.warning("No %s: the database cannot be reached: %s", what, error)
        connection.close()


def ring(task: str, *, queue: str, expires: float, of: str) -> bool:
    """Send a doorbell; False where the broker cannot be reached, which is no error: a clock rings again."""
    try:
        app.send_task(task, queue=queue, expires=expires, retry=False)
    except Exception as error:  # kombu, redis and the socket each have their own
        logger.warning("The broker could not be told of %s: %s", of, error)
        return False
    return True


def rings_on_commit(bell: Callable[[], object]) -> bool:
    """Whether this transaction rings it already: one that moves a thousand jobs rings once."""
    from django.db import connection

    return any(entry[1] is bell for entry in connection.run_on_commit)


@setup_logging.connect
def keep_logging_of_django(**_: object) -> None:
    """Having a receiver keeps Celery from setting up its own; settings.LOGGING stands."""
