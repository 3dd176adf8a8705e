"""A checkpoint: what it is in one row, its bytes in rows of one MiB.

Unpublished while its chunks arrive; readers see it whole or not at all.
"""

import uuid_utils.compat as uuid
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def published(self) -> "CheckpointQuerySet":
        """The whole ones, newest first."""
        return self.filter(published_at__isnull=False).order_by("-step", "-published_at")


class Checkpoint(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="checkpoints")
    attempt = models.PositiveIntegerField()
    epoch = models.IntegerField()
    step = models.BigIntegerField()
    passes = models.IntegerField()
    samples = models.BigIntegerField()
    seconds = models.FloatField()
    metrics = models.JSONField()
    kinds = ArrayField(models.CharField(max_length=10), default=list)  # last, best, milestone; none: may be removed
    format = models.CharField(max_length=40, default="safetensors")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    marks = models.JSONField(default=dict)  # how far metrics, diagnostics and logs had come: what a resume rewinds to
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        ordering = ["-step", "-created_at"]
        indexes = [models.Index("job", "step", name="jobs_checkpoint_step")]

    def __str__(self) -> str:
        return f"step {self.step}"


class CheckpointChunk(models.Model):
    """Bytes `number` MiB and on of a checkpoint. Written and read in binary form (checkpoints.py)."""

    pk = models.CompositePrimaryKey("checkpoint_id", "number")
    checkpoint = models.ForeignKey(Checkpoint, models.CASCADE, related_name="chunks", db_index=False)
    number = models.IntegerField()
    sha256 = models.BinaryField(max_length=32)
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.checkpoint_id}/{self.number}"
