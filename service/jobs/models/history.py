"""What happened to a job: every change of state, and what a reader of its event stream is told."""

from django.db import models
from django.db.models.functions import Now

from service.jobs.states import TERMINAL, Reason, State


class Transition(models.Model):
    """One change of state. Rows are only added; the database refuses to change one."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="transitions")
    origin = models.CharField(max_length=10, choices=State, null=True)  # noqa: DJ001 (null: the job is new)
    target = models.CharField(max_length=10, choices=State)
    reason = models.CharField(max_length=30, choices=Reason)
    sentence = models.TextField()
    attempt = models.PositiveIntegerField()
    by = models.CharField(max_length=200)  # a username, "worker <name>", "reaper"
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        constraints = [
            # A terminal state is reached exactly once.
            models.UniqueConstraint(
                "job", name="jobs_transition_once_terminal", condition=models.Q(target__in=TERMINAL)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.origin or 'new'} → {self.target}"


class Event(models.Model):
    """One entry of `/jobs/{id}/events`; the database announces each on the channel of schema.py.

    A job's ids grow in the order in which they become visible, since each is written under the lock of its job.
    """

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="events", db_index=False)
    type = models.CharField(max_length=30)
    data = models.JSONField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [models.Index("job", "id", name="jobs_event_job")]

    def __str__(self) -> str:
        return f"{self.type} #{self.pk}"
