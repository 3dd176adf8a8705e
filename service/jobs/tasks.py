"""What Celery calls: one line each. A message carries nothing; what is to be done stands in Postgres.

While Postgres is away there is nothing to do: the next message comes soon.
"""

from service.celery import app, unless_database_is_away
from service.jobs import dispatch as dispatching
from service.jobs import reaper, retention, worker


@app.task
def ring() -> None:
    """There may be work in this worker's queues."""
    with unless_database_is_away("claim"):
        worker.answer_doorbell()


@app.task
def dispatch() -> None:
    """Ring in every queue where a job waits."""
    with unless_database_is_away("dispatch"):
        dispatching.dispatch()


@app.task
def reap() -> None:
    """Free the jobs of lost workers, and fail those that waited too long."""
    with unless_database_is_away("reap"):
        reaper.reap()


@app.task
def retain() -> None:
    """Remove checkpoints that no rule keeps."""
    with unless_database_is_away("retain"):
        retention.retain()
