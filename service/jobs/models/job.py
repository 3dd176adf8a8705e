"""A job: a training spec, and where it stands. The row that everything else hangs on."""

import uuid_utils.compat as uuid
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from service.accounts.visibility import OwnedQuerySet
from service.jobs.states import HELD, TERMINAL, Reason, State


class JobQuerySet(OwnedQuerySet["Job"]):
    """What is asked of jobs in more than one place."""

    def with_progress(self) -> "JobQuerySet":
        """With all that `presentation.present` shows, in three queries however many jobs there are."""
        return self.select_related("owner").prefetch_related("summaries")


def _null(*fields: str) -> Q:
    return Q(**{f"{field}__isnull": True for field in fields})


def _set(*fields: str) -> Q:
    return Q(**{f"{field}__isnull": False for field in fields})


class Job(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=200, blank=True, default="")
    tags = ArrayField(models.CharField(max_length=100), blank=True, default=list)
    priority = models.SmallIntegerField(default=0)
    queue = models.CharField(max_length=100)

    spec = models.JSONField()  # the resolved TrainingSpec; device and threads are filled in by the first claim
    algorithm = models.CharField(max_length=100)  # these two as in the spec, to filter by
    dataset = models.CharField(max_length=100)
    device = models.CharField(max_length=10, null=True, blank=True)  # noqa: DJ001 (null: open until claimed)
    threads = models.PositiveSmallIntegerField(null=True, blank=True)  # null: open until claimed

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    reason = models.CharField(max_length=30, choices=Reason, default=Reason.CREATED)
    sentence = models.TextField(default="")
    attempt = models.PositiveIntegerField(default=0)  # grows with every claim: the fence
    failures = models.PositiveSmallIntegerField(default=0)  # lost workers and killed trainers
    max_failures = models.PositiveSmallIntegerField(default=3)

    worker = models.UUIDField(null=True, blank=True)  # who holds it: a new number at every start of a worker
    worker_name = models.CharField(max_length=200, blank=True, default="")  # who held it last
    lease_until = models.DateTimeField(null=True, blank=True)  # on the database's clock

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    queued_at = models.DateTimeField(db_default=Now())  # its place in the queue; kept when a worker is lost
    state_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)

    max_seconds = models.FloatField(null=True, blank=True)  # of training, over all attempts
    max_pending_seconds = models.FloatField(null=True, blank=True)
    seconds_trained = models.FloatField(default=0.0)

    progress = models.JSONField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    failure = models.JSONField(null=True, blank=True)

    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="children")
    experiment = models.UUIDField(null=True, blank=True)
    start_from_checkpoint = models.ForeignKey(
        "jobs.Checkpoint", models.SET_NULL, null=True, blank=True, related_name="continued_by"
    )

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            # The claim reads its next job straight off this index, however many wait.
            models.Index(
                F("queue"),
                F("priority").desc(),
                F("queued_at"),
                F("id"),
                name="jobs_job_claim",
                condition=Q(state=State.QUEUED),
            ),
            # Not on lease_until: it changes at every heartbeat, and the few held jobs are soon looked through.
            models.Index(F("id"), name="jobs_job_held", condition=Q(state__in=HELD)),
            models.Index(F("owner"), F("created_at").desc(), F("id").desc(), name="jobs_job_owner"),
            models.Index(F("created_at").desc(), F("id").desc(), name="jobs_job_created"),
            models.Index(F("state"), F("created_at").desc(), name="jobs_job_state"),
            models.Index(F("experiment"), name="jobs_job_experiment", condition=Q(experiment__isnull=False)),
            GinIndex(F("tags"), name="jobs_job_tags"),
        ]
        constraints = [
            models.CheckConstraint(name="jobs_job_state", condition=Q(state__in=State.values)),
            models.CheckConstraint(
                name="jobs_job_lease",
                condition=(Q(state__in=HELD) & _set("worker", "lease_until", "started_at", "device", "threads"))
                | (~Q(state__in=HELD) & _null("worker", "lease_until")),
            ),
            models.CheckConstraint(
                name="jobs_job_finished",
                condition=(Q(state__in=TERMINAL) & _set("finished_at"))
                | (~Q(state__in=TERMINAL) & _null("finished_at")),
            ),
            models.CheckConstraint(
                name="jobs_job_result",
                condition=(Q(state=State.SUCCEEDED) & _set("result")) | (~Q(state=State.SUCCEEDED) & _null("result")),
            ),
            models.CheckConstraint(
                name="jobs_job_failure",
                condition=(Q(state=State.FAILED) & _set("failure")) | (~Q(state=State.FAILED) & _null("failure")),
            ),
            models.CheckConstraint(
                name="jobs_job_numbers",
                condition=Q(max_failures__gte=1, failures__lte=F("max_failures")) & Q(failures__lte=F("attempt")),
            ),
            models.CheckConstraint(
                name="jobs_job_limits",
                condition=(Q(max_seconds__isnull=True) | Q(max_seconds__gt=0))
                & (Q(max_pending_seconds__isnull=True) | Q(max_pending_seconds__gt=0)),
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.algorithm} on {self.dataset}"

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def is_held(self) -> bool:
        """A worker has it."""
        return self.state in HELD
