"""An experiment: what was asked for and fixed before any job ran, and what its rules have decided since.

Each of its jobs carries its id, and has a `Place` that says what it stands for.
"""

from typing import TYPE_CHECKING

import uuid_utils.compat as uuid
from django.conf import settings
from django.db import models
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from service.accounts.visibility import OwnedQuerySet
from service.jobs.models import Job

if TYPE_CHECKING:
    from service.experiments.presentation import Standing


class Phase(models.TextChoices):
    """What an experiment trains."""

    TUNING = "tuning"  # trials of hyperparameters; the comparison with the defaults waits behind them
    MAIN = "main"  # the comparison with the seeds that were asked for
    EXTRA_SEEDS = "extra_seeds"  # seeds added by its rule or by its owner


class ExperimentQuerySet(OwnedQuerySet["Experiment"]):
    def unsettled(self) -> "ExperimentQuerySet":
        """Those whose rules may still do something."""
        return self.filter(settled_at__isnull=True)


class Experiment(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="experiments")
    name = models.CharField(max_length=200)
    request = models.JSONField()  # as posted, defaults filled in

    # Fixed before the data
    workloads = models.JSONField()  # {dataset, network (resolved), label, chance}
    arms = models.JSONField(default=list)  # {name, algorithm}, in the order of the request
    properties = models.JSONField()  # arm → name → {needed, reason}, as declared when it was made
    cells = models.JSONField(default=list)  # {arm, workload (its place in workloads), spec (resolved, seed 0)}

    # Decided by its rules since
    phase = models.CharField(max_length=12, choices=Phase, default=Phase.MAIN)
    tuning = models.JSONField(null=True, blank=True)  # the choice of hyperparameters and its price (tuning.py)
    looks = models.JSONField(default=list)  # at the intervals, for the adaptive rule (adaptive.py)
    stopped = models.JSONField(null=True, blank=True)  # {rule, sentence, …}: why no more jobs are begun

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True)  # when its owner asked; state and end follow its jobs
    settled_at = models.DateTimeField(null=True, blank=True)  # its rules have nothing more to do

    objects = ExperimentQuerySet.as_manager()

    standing: "Standing"  # of its jobs; only where a list has looked it up (presentation.standings)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(F("owner"), F("created_at").desc(), F("id").desc(), name="experiments_owner"),
            models.Index(F("created_at").desc(), F("id").desc(), name="experiments_created"),
            models.Index(F("id"), name="experiments_unsettled", condition=Q(settled_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def jobs(self) -> QuerySet[Job]:
        """Its jobs, in the order in which they were made."""
        return Job.objects.filter(experiment=self.pk).order_by("id")

    @property
    def may_grow(self) -> bool:
        """Its rules may still add jobs, though all that there are have ended."""
        grows = any(self.request.get(rule) for rule in ("tune", "adaptive_seeds"))
        return grows and self.settled_at is None

    @property
    def is_tuned(self) -> bool:
        """Its search has ended: what it found is trained beside the defaults."""
        return self.tuning is not None


class Place(models.Model):
    """What a job stands for in its experiment. A job tried again takes the place of the one that it was made from."""

    job = models.OneToOneField(Job, models.CASCADE, primary_key=True, related_name="place")
    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="places")
    phase = models.CharField(max_length=12, choices=Phase)
    arm = models.TextField()
    workload = models.PositiveSmallIntegerField()  # its place in Experiment.workloads
    seed = models.BigIntegerField()
    tuned = models.BooleanField(default=False)  # trained with the hyperparameters that the search found
    trial = models.PositiveSmallIntegerField(null=True, blank=True)  # of the search, from 0
    stopped = models.JSONField(null=True, blank=True)  # {rule, sentence, …}: a rule of the experiment ended it

    class Meta:
        ordering = ["job"]

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"
