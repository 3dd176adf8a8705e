"""Registers what the panel shows. Jobs are watched and steered, never edited: their states move by the lifecycle."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.views import ChangeList

from service.experiments.models import Experiment, Phase
from service.experiments.presentation import standings, state_of
from service.jobs.models import Job, Worker
from service.panel import experiment_pages, pages, webhooks  # noqa: F401  # registers its lists
from service.panel.compare import compare_page, compare_selected
from service.panel.display import EXPERIMENT_COLOURS, STATE_COLOURS, age, percent, score_of
from service.panel.watched import WatchedAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(Job)
class JobAdmin(WatchedAdmin):
    """All jobs, newest first; a job's page shows its curves, health, history, checkpoints and log."""

    list_display = (
        "title",
        "shown_state",
        "algorithm",
        "dataset",
        "progress_bar",
        "score",
        "queue",
        "owner",
        "created",
    )
    list_filter = ("state", "algorithm", "dataset", "queue")
    search_fields = ("name", "id", "sentence", "tags")
    list_per_page = 50
    list_select_related = ("owner",)
    ordering = ("-created_at",)
    show_full_result_count = False  # a count of all jobs at every page view grows with the table
    change_list_template = "panel/job_list.html"
    actions = (compare_selected,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).visible_to(request.user).prefetch_related("summaries")

    def get_urls(self) -> list[URLPattern]:
        steer = path("<uuid:pk>/<slug:action>/steer/", self.admin_site.admin_view(pages.steer), name="jobs_job_steer")
        compare = path("compare/", self.admin_site.admin_view(self.compare_view), name="jobs_job_compare")
        return [steer, compare, *super().get_urls()]

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        return compare_page(request, self.admin_site)

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return pages.job_page(request, object_id, self.admin_site)

    @display(description="Job", header=True)
    def title(self, job: Job) -> tuple[str, str]:
        return str(job), f"…{str(job.pk)[-12:]}"

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def shown_state(self, job: Job) -> str:
        return job.state

    @display(description="Progress")
    def progress_bar(self, job: Job) -> str:
        share = percent(job)
        return format_html(
            '<div class="panel-bar" role="progressbar" aria-valuenow="{}" aria-valuemin="0" aria-valuemax="100">'
            '<span style="width:{}%"></span></div> <small>{} %</small>',
            share,
            share,
            share,
        )

    @display(description="Test accuracy")
    def score(self, job: Job) -> str:
        return score_of(job)

    @display(description="Created", ordering="created_at")
    def created(self, job: Job) -> str:
        return format_html(
            '<time datetime="{}" title="{}">{}</time>', job.created_at.isoformat(), job.created_at, age(job)
        )


class ExperimentChangeList(ChangeList):
    """Looks up where a page's jobs stand in one query."""

    result_list: Any  # of the page

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        shown = list(self.result_list)
        found = standings(shown)
        for experiment in shown:
            experiment.standing = found[experiment.pk]
        self.result_list = shown


@admin.register(Experiment)
class ExperimentAdmin(WatchedAdmin):
    """All experiments, newest first, each with its report."""

    list_display = ("name", "shown_state", "shown_phase", "shown_progress", "report", "its_jobs", "owner", "created")
    search_fields = ("name", "id")
    list_per_page = 50
    list_select_related = ("owner",)
    ordering = ("-created_at",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        return super().get_queryset(request).visible_to(request.user).defer("cells")

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return ExperimentChangeList

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<uuid:pk>/seeds/", view(experiment_pages.add_seeds), name="experiments_experiment_seeds"),
            path("<uuid:pk>/rerun/", view(experiment_pages.run_again), name="experiments_experiment_rerun"),
            path("<uuid:pk>/<slug:action>/steer/", view(experiment_pages.steer), name="experiments_experiment_steer"),
            *super().get_urls(),
        ]

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return experiment_pages.experiment_page(request, object_id, self.admin_site)

    @display(description="State", label=EXPERIMENT_COLOURS)
    def shown_state(self, experiment: Experiment) -> str:
        return state_of(experiment, experiment.standing)

    @display(description="Phase")
    def shown_phase(self, experiment: Experiment) -> str:
        return experiment_pages.PHASES[Phase(experiment.phase)]

    @display(description="Jobs that have ended")
    def shown_progress(self, experiment: Experiment) -> str:
        return f"{experiment.standing.ended} of {experiment.standing.planned}"

    @display(description="Report")
    def report(self, experiment: Experiment) -> str:
        url = reverse("api:experiment-report", args=[experiment.pk])
        return format_html('<a href="{}?format=html">Report</a>', url)

    @display(description="Jobs")
    def its_jobs(self, experiment: Experiment) -> str:
        return format_html('<a href="{}?experiment={}">Jobs</a>', reverse("admin:jobs_job_changelist"), experiment.pk)

    @display(description="Created", ordering="created_at")
    def created(self, experiment: Experiment) -> str:
        return f"{pages.moment(experiment.created_at)}"


@admin.register(Worker)
class WorkerAdmin(WatchedAdmin):
    """Who trains: a row for every start of a worker."""

    list_display = (
        "name",
        "alive",
        "host",
        "device",
        "shown_queues",
        "current_job",
        "threads",
        "started_at",
        "last_seen",
    )
    list_display_links = None
    list_filter = ("device",)
    ordering = ("-last_seen",)
    list_select_related = ("job",)

    @display(description="Alive", boolean=True)
    def alive(self, worker: Worker) -> bool:
        return pages.is_live(worker)

    @display(description="Queues")
    def shown_queues(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @display(description="Job")
    def current_job(self, worker: Worker) -> str:
        if worker.job is None:
            return "–"
        return format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[worker.job.pk]), worker.job)
