"""How a job's numbers are put for people."""

from datetime import timedelta

from django.utils import timezone

from service.jobs.models import Job

STATE_COLOURS = {
    "queued": "info",
    "running": "primary",
    "pausing": "warning",
    "paused": "warning",
    "cancelling": "warning",
    "succeeded": "success",
    "failed": "danger",
    "cancelled": "default",
}

EXPERIMENT_COLOURS = {"running": "primary", "finished": "success", "cancelled": "default"}


def percent(job: Job) -> int:
    """How far a job is, 0 to 100; a finished one counts as whole."""
    if job.state == "succeeded":
        return 100
    return round(100 * float((job.progress or {}).get("fraction") or 0))


def score_of(job: Job) -> str:
    """Its last test accuracy, or loss where there is no accuracy. Needs `summaries` prefetched."""
    last = {summary.name: summary.last for summary in job.summaries.all()}
    for name, text in (("test_accuracy", "{:.2%}"), ("test_loss", "loss {:.4g}")):
        value = last.get(name)
        if value is not None:
            return text.format(value)
    return "–"


def age(job: Job) -> str:
    """How long ago it was made, in one unit."""
    passed: timedelta = timezone.now() - job.created_at
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if passed.total_seconds() >= unit:
            return f"{int(passed.total_seconds() // unit)} {name} ago"
    return "now"
