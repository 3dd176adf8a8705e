"""The Celery application: doorbells for the workers, periodic tasks for the maintenance worker.

Its settings are the CELERY_ ones in settings.py. Tasks are declared with `@app.task`, so that whoever
sends one has this application loaded.
"""

import os
import warnings

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


@setup_logging.connect
def keep_logging_of_django(**_: object) -> None:
    """Having a receiver keeps Celery from setting up its own; settings.LOGGING stands."""
