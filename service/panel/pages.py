"""The page of one job, and the buttons that steer it. Charts are fed by the API's JSON."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from service.jobs import lifecycle
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job, Worker
from service.jobs.states import State, allowed
from service.panel.display import STATE_COLOURS, percent, score_of

LOG_LINES = 200

STEERED = {
    "cancel": (lifecycle.request_cancel, "Cancel", State.CANCELLED, State.CANCELLING),
    "pause": (lifecycle.request_pause, "Pause", State.PAUSED, State.PAUSING),
    "resume": (lifecycle.resume, "Resume", State.QUEUED, None),
}


def job_page(request: HttpRequest, pk: str, site: AdminSite) -> HttpResponse:
    """Everything about one job. Raises Http404 for what is not there or not this user's."""
    try:
        job = get_object_or_404(Job.objects.visible_to(request.user).with_progress(), pk=UUID(pk))
    except (ValueError, ValidationError):
        raise Http404("no such job") from None
    context = {
        **site.each_context(request),
        "title": str(job),
        "opts": Job._meta,
        "job": job,
        "percent": percent(job),
        "score": score_of(job),
        "colour": STATE_COLOURS[job.state],
        "buttons": buttons_of(job),
        "facts": facts_of(job),
        "spec": json.dumps(job.spec, indent=2),
        "history": job.transitions.order_by("id"),
        "checkpoints": job.checkpoints.filter(published_at__isnull=False).order_by("-step"),
        "artefacts": job.artefacts.order_by("name"),
        "log": list(job.log_lines.order_by("-number")[:LOG_LINES])[::-1],
        "live": json.dumps(
            {
                "job": reverse("api:job", args=[job.pk]),
                "metrics": reverse("api:job-metrics", args=[job.pk]),
                "diagnostics": reverse("api:job-diagnostics", args=[job.pk]),
                "final": job.is_terminal,
            }
        ),
    }
    return render(request, "panel/job.html", context)


@require_POST
def steer(request: HttpRequest, pk: UUID, action: str) -> HttpResponse:
    """Cancel, pause or resume, then back to the job's page with what was said."""
    job = get_object_or_404(Job.objects.visible_to(request.user), pk=pk)
    if action not in STEERED:
        raise Http404("no such action")
    try:
        moved = STEERED[action][0](job, by=request.user)
    except TransitionRefused as refusal:
        messages.error(request, refusal.sentence)
    else:
        messages.success(request, moved.sentence)
    return redirect("admin:jobs_job_change", pk)


def buttons_of(job: Job) -> list[dict[str, str]]:
    """The actions that its state allows."""
    state = State(job.state)
    return [
        {"label": label, "url": reverse("admin:jobs_job_steer", args=[job.pk, name])}
        for name, (_, label, *targets) in STEERED.items()
        if any(target is not None and allowed(state, target) for target in targets)
        and not (name == "resume" and state != State.PAUSED)
    ]


def facts_of(job: Job) -> list[tuple[str, Any]]:
    """What stands in the table beside the curves."""
    network = job.spec.get("network", {})
    training = job.spec.get("training", {})
    result = job.result or {}
    facts: list[tuple[str, Any]] = [
        ("Algorithm", job.algorithm),
        ("Data set", job.dataset),
        ("Network", f"{network.get('kind', '')} {network.get('hidden', '')}".strip()),
        ("Epochs", training.get("epochs")),
        ("Batch size", training.get("batch_size")),
        ("Seed", training.get("seed")),
        ("Test accuracy", score_of(job)),
        ("Parameters", f"{result['parameters']:,}" if "parameters" in result else None),
        ("Samples a second", f"{result['samples_per_second']:,.0f}" if result.get("samples_per_second") else None),
        ("Training seconds", f"{job.seconds_trained:,.1f}"),
        ("Owner", job.owner),
        ("Queue", job.queue),
        ("Worker", job.worker_name or None),
        ("Attempt", job.attempt),
        ("Failures", f"{job.failures} of {job.max_failures}"),
        ("Created", moment(job.created_at)),
        ("Started", moment(job.started_at)),
        ("Finished", moment(job.finished_at)),
        ("Id", job.pk),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]


def moment(at: datetime | None) -> str | None:
    """2026-01-31 12:00:00 UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at is not None else None


def is_live(worker: Worker) -> bool:
    """Seen within a lease, and has not said goodbye."""
    recent = timezone.now() - timedelta(seconds=settings.ALTPROP_LEASE_SECONDS)
    return worker.stopped_at is None and worker.last_seen >= recent
