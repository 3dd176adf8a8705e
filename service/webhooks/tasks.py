"""What Celery calls: one line each. A message carries nothing; what is to be done stands in Postgres."""

from service.celery import app, unless_database_is_away
from service.webhooks import delivery, retention


@app.task
def deliver() -> None:
    """Messages may be due."""
    with unless_database_is_away("delivery of webhooks"):
        delivery.deliver()


@app.task
def retain() -> None:
    """Remove messages that are old."""
    with unless_database_is_away("removal of old webhook messages"):
        retention.retain()
