"""The page of one experiment: where it stands, arm by arm, what its rules have done, and the buttons that steer it."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.db.models import Avg, Count, F, FloatField, Q, StdDev
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from service.experiments import lifecycle
from service.experiments.models import Experiment, Phase
from service.experiments.presentation import present
from service.experiments.provenance import stopped_early
from service.experiments.rerun import rerun
from service.jobs.errors import TransitionRefused
from service.jobs.models import Job
from service.jobs.states import HELD, TERMINAL, State
from service.panel.display import EXPERIMENT_COLOURS
from trainers.errors import SpecError

PHASES = {Phase.TUNING: "search for hyperparameters", Phase.MAIN: "comparison", Phase.EXTRA_SEEDS: "further seeds"}

STEERED: dict[str, tuple[Callable[..., Experiment], str]] = {
    "pause": (lifecycle.request_pause, "Jobs that train save first; the others wait."),
    "resume": (lifecycle.resume, "Its paused jobs are queued again."),
    "cancel": (lifecycle.request_cancel, "What trains ends within seconds; what has ended is kept."),
}


def experiment_page(request: HttpRequest, pk: str, site: AdminSite) -> HttpResponse:
    """Everything about one experiment. Raises Http404 for what is not there or not this user's."""
    try:
        mine = Experiment.objects.visible_to(request.user).defer("cells").select_related("owner")
        experiment = get_object_or_404(mine, pk=UUID(pk))
    except (ValueError, ValidationError):
        raise Http404("no such experiment") from None
    shown = present(experiment, lambda _: {})
    report = reverse("api:experiment-report", args=[experiment.pk])
    context = {
        **site.each_context(request),
        "title": experiment.name,
        "opts": Experiment._meta,
        "experiment": experiment,
        "shown": shown,
        "phase": PHASES[Phase(experiment.phase)],
        "colour": EXPERIMENT_COLOURS[shown["state"]],
        "percent": round(100 * shown["progress"]["fraction"]),
        "buttons": buttons_of(experiment, shown),
        "seeds_url": reverse("admin:experiments_experiment_seeds", args=[experiment.pk]),
        "can_grow": experiment.cancelled_at is None and experiment.stopped is None,
        "rows": rows_of(experiment),
        "facts": facts_of(experiment, shown),
        "looks": [_look(look) for look in experiment.looks],
        "rule": experiment.request.get("adaptive_seeds"),
        "stopped_early": [each for tuned in (False, True) for each in stopped_early(experiment, tuned=tuned)],
        "report": report,
        "bundle": reverse("api:experiment-bundle", args=[experiment.pk]),
        "rerun_url": reverse("admin:experiments_experiment_rerun", args=[experiment.pk]),
        "jobs": f"{reverse('admin:jobs_job_changelist')}?experiment={experiment.pk}",
        "request_text": json.dumps(experiment.request, indent=2, ensure_ascii=False),
        "live": json.dumps({"experiment": reverse("api:experiment", args=[experiment.pk])}),
    }
    return render(request, "panel/experiment.html", context)


@require_POST
def steer(request: HttpRequest, pk: UUID, action: str) -> HttpResponse:
    """Pause, resume or cancel all jobs, then back to the page with what was said."""
    experiment = get_object_or_404(Experiment.objects.visible_to(request.user), pk=pk)
    if action not in STEERED:
        raise Http404("no such action")
    move, done = STEERED[action]
    try:
        move(experiment, by=request.user)
    except TransitionRefused as refusal:
        messages.error(request, refusal.sentence)
    else:
        messages.success(request, done)
    return redirect("admin:experiments_experiment_change", pk)


@require_POST
def add_seeds(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Seeds typed as "10, 11, 12", trained by every arm; then back to the page."""
    experiment = get_object_or_404(Experiment.objects.visible_to(request.user), pk=pk)
    typed = request.POST.get("seeds", "")
    try:
        seeds = [int(part) for part in typed.replace(",", " ").split()]
        lifecycle.add_seeds(experiment, {"seeds": seeds})
    except ValueError as wrong:
        said = str(wrong) if isinstance(wrong, SpecError) else f"Seeds are whole numbers such as 10, 11; got {typed!r}."
        messages.error(request, said)
    except (SpecError, TransitionRefused) as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"Every arm is trained with {len(seeds)} seed{'s' if len(seeds) > 1 else ''} more.")
    return redirect("admin:experiments_experiment_change", pk)


@require_POST
def run_again(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A new experiment from the same request, and to its page."""
    experiment = get_object_or_404(Experiment.objects.visible_to(request.user), pk=pk)
    try:
        again = rerun(experiment, by=request.user)
    except SpecError as refused:
        messages.error(request, str(refused))
        return redirect("admin:experiments_experiment_change", pk)
    messages.success(request, "The same jobs are queued once more, as this experiment.")
    return redirect("admin:experiments_experiment_change", again.pk)


def buttons_of(experiment: Experiment, shown: dict[str, Any]) -> list[dict[str, str]]:
    """The actions that make sense now."""
    counts = shown["counts"]
    waits_or_trains = any(counts.get(state) for state in (State.QUEUED, State.RUNNING))
    possible = {
        "pause": waits_or_trains,
        "resume": bool(counts.get(State.PAUSED)),
        "cancel": shown["state"] == "running",
    }
    return [
        {"label": name.capitalize(), "url": reverse("admin:experiments_experiment_steer", args=[experiment.pk, name])}
        for name, sensible in possible.items()
        if sensible
    ]


def rows_of(experiment: Experiment) -> list[dict[str, Any]]:
    """Each arm on each workload, in each table: how far its jobs are and what they have scored."""
    accuracy = Cast(KT("result__test_accuracy"), FloatField())
    found = (
        Job.objects.filter(experiment=experiment.pk, place__isnull=False)
        .exclude(place__phase=Phase.TUNING)
        .order_by()
        .values(arm=F("place__arm"), workload=F("place__workload"), tuned=F("place__tuned"))
        .annotate(
            jobs=Count("pk"),
            ended=Count("pk", filter=Q(state__in=TERMINAL)),
            training=Count("pk", filter=Q(state__in=HELD)),
            failed=Count("pk", filter=Q(state=State.FAILED)),
            stopped=Count("pk", filter=Q(place__stopped__isnull=False)),
            mean=Avg(accuracy),
            deviation=StdDev(accuracy, sample=True),
        )
    )
    order = {arm["name"]: place for place, arm in enumerate(experiment.arms)}
    rows = sorted(found, key=lambda row: (row["tuned"], row["workload"], order.get(row["arm"], len(order))))
    return [
        {
            **row,
            "dataset": experiment.workloads[row["workload"]]["dataset"],
            "label": experiment.workloads[row["workload"]]["label"],
            "percent": round(100 * row["ended"] / row["jobs"]),
            "score": _score(row["mean"], row["deviation"]),
        }
        for row in rows
    ]


def facts_of(experiment: Experiment, shown: dict[str, Any]) -> list[tuple[str, Any]]:
    """What stands in the table beside the arms."""
    progress, budget = shown["progress"], experiment.request.get("budget") or {}
    of_budget = f" of {budget['seconds']:,.0f}" if budget.get("seconds") else ""
    to_come = progress["planned"] - progress["jobs"]
    facts = [
        ("Phase", PHASES[Phase(experiment.phase)]),
        ("Jobs", f"{progress['jobs']:,}" + (f", and {to_come} to come" if to_come else "")),
        ("By state", ", ".join(f"{count} {state}" for state, count in shown["counts"].items())),
        ("Seconds of training", f"{progress['seconds_trained']:,.1f}{of_budget}"),
        ("Jobs allowed", budget.get("jobs")),
        ("Owner", experiment.owner),
        ("Created", _when(shown["created_at"])),
        ("Finished", _when(shown["finished_at"])),
        ("Id", experiment.pk),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]


def _look(look: dict[str, Any]) -> dict[str, Any]:
    """The widest interval decides."""
    widths = look["half_widths"]
    open_ones = [each for each in widths if each["half_width"] is None]
    widest = open_ones[0] if open_ones else max(widths, key=lambda each: each["half_width"], default=None)
    points = None if widest is None or widest["half_width"] is None else f"{100 * widest['half_width']:.2f} points"
    return {**look, "when": _when(look["at"]), "widest": widest, "points": points}


def _when(time: str | None) -> str | None:
    """2026-01-31 12:00:00 UTC, of the API's ISO time."""
    return None if time is None else f"{time[:19].replace('T', ' ')} UTC"


def _score(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.2%}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")
