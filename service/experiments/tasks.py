"""What Celery calls for experiments: one task of the maintenance worker, rung when a job ends and every few seconds.

A message carries nothing; what is to be done stands in Postgres. Lost messages cost one period.
"""

from typing import Any

from celery import Celery
from django.conf import settings

from service import celery
from service.celery import app, unless_database_is_away

QUEUE = "maintenance"


@app.task
def advance() -> None:
    """Take every experiment as far as its rules and its jobs allow."""
    from service.experiments import follow_ups

    with unless_database_is_away("advance of experiments"):
        follow_ups.advance_all()


def ring() -> bool:
    """Tell the maintenance worker; False where the broker cannot be reached, which is no error."""
    return celery.ring(advance.name, queue=QUEUE, expires=settings.ALTPROP_DISPATCH_SECONDS, of="an experiment")


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    """Beat rings it too."""
    seconds = settings.ALTPROP_DISPATCH_SECONDS
    sender.add_periodic_task(seconds, advance.s(), name="advance experiments", queue=QUEUE, expires=seconds)
