"""What a run measures: points of curves, a summary of each curve, and the health of its layers.

The points table is laid out for 10⁸ rows: eight-byte columns first, no text, no JSON, one index that is also the
guarantee that no point is stored twice. Lists read the summaries and never touch it.
"""

from django.db import models


class MetricSummary(models.Model):
    """One curve of one job, summed up while it is written. Its id is the `series` of its points."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="summaries", db_index=False)
    name = models.CharField(max_length=100)
    count = models.BigIntegerField(default=0)
    finite = models.BigIntegerField(default=0)  # how many of them were numbers
    total = models.FloatField(default=0.0)
    last = models.FloatField(null=True)
    last_step = models.BigIntegerField(default=-1)
    best = models.FloatField(null=True)
    best_step = models.BigIntegerField(null=True)
    minimum = models.FloatField(null=True)
    maximum = models.FloatField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["job", "name"], name="jobs_metricsummary_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def mean(self) -> float | None:
        """Over the points that were numbers."""
        return self.total / self.finite if self.finite else None


class MetricPoint(models.Model):
    """One measured value. Written by COPY (metrics.py), removed with its series."""

    pk = models.CompositePrimaryKey("series_id", "step")
    series = models.ForeignKey(MetricSummary, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    step = models.BigIntegerField()
    samples = models.BigIntegerField()
    seconds = models.FloatField()
    value = models.FloatField(null=True)  # null: not a finite number
    epoch = models.IntegerField()
    passes = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.series_id}@{self.step}"


class Diagnostic(models.Model):
    """Health of signals and updates at one step, one entry of `layers` a layer, bottom to top."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("jobs.Job", models.CASCADE, related_name="diagnostics", db_index=False)
    step = models.BigIntegerField()
    epoch = models.IntegerField()
    passes = models.IntegerField()
    samples = models.BigIntegerField()
    seconds = models.FloatField()
    layers = models.JSONField()
    verdict = models.TextField(null=True)  # noqa: DJ001 (null: it says nothing)

    class Meta:
        ordering = ["step"]
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="jobs_diagnostic_step")]

    def __str__(self) -> str:
        return f"step {self.step}"
