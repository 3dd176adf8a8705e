"""A worker as it shows itself: one row per start, renewed while it lives."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class Worker(models.Model):
    id = models.UUIDField(primary_key=True, editable=False)  # new at every start: a used one would hide dead jobs
    name = models.CharField(max_length=200)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = ArrayField(models.CharField(max_length=100))
    device = models.CharField(max_length=10)
    device_name = models.CharField(max_length=200, blank=True)  # a GPU's UUID
    cores = models.PositiveSmallIntegerField()  # that its trainer may use
    threads = models.PositiveSmallIntegerField()  # that it gives a job which leaves them open
    job = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, related_name="+")
    started_at = models.DateTimeField(db_default=Now())
    last_seen = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True)  # it said goodbye

    class Meta:
        ordering = ["name", "-started_at"]
        indexes = [models.Index("last_seen", name="jobs_worker_seen")]

    def __str__(self) -> str:
        return self.name
