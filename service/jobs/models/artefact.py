"""A small file that a run made for people to look at: a plot, a table."""

from django.db import models
from django.db.models.functions import Now


class Artefact(models.Model):
    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="artefacts", db_index=False)
    name = models.CharField(max_length=200)
    media_type = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    content = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="jobs_artefact_name")]

    def __str__(self) -> str:
        return self.name
