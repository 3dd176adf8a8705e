"""What a trainer process printed, in order."""

from django.db import models
from django.db.models.functions import Now


class LogLine(models.Model):
    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="log_lines", db_index=False)
    number = models.BigIntegerField()  # from 1, over all attempts
    attempt = models.PositiveIntegerField()
    text = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="jobs_logline_number")]

    def __str__(self) -> str:
        return self.text
