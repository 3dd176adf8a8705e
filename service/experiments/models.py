"""An experiment: what was asked for, and what was fixed before any job ran. Its jobs carry its id."""

from typing import TYPE_CHECKING, Any

import uuid_utils.compat as uuid
from django.conf import settings
from django.db import models
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from service.jobs.models import Job

if TYPE_CHECKING:
    from service.experiments.presentation import Standing


class ExperimentQuerySet(models.QuerySet["Experiment"]):
    def visible_to(self, user: Any) -> "ExperimentQuerySet":
        """Each user's own; all for staff."""
        return self if user.is_staff else self.filter(owner=user)


class Experiment(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="experiments")
    name = models.CharField(max_length=200)
    request = models.JSONField()  # as posted, defaults filled in
    workloads = models.JSONField()  # {dataset, network (resolved), label, chance}: fixed before the data
    properties = models.JSONField()  # algorithm → name → {needed, reason}, as declared when it was made
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True)  # when its owner asked; state and end follow its jobs

    objects = ExperimentQuerySet.as_manager()

    standing: "Standing"  # of its jobs; only where a list has looked it up (presentation.standings)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(F("owner"), F("created_at").desc(), F("id").desc(), name="experiments_owner"),
            models.Index(F("created_at").desc(), F("id").desc(), name="experiments_created"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def jobs(self) -> QuerySet[Job]:
        """Its jobs, in the order in which they were made."""
        return Job.objects.filter(experiment=self.pk).order_by("id")
