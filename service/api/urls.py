"""Addresses under /api/v1, and an answer in problem+json for every other one."""

from typing import Any

from django.urls import URLPattern, path, re_path

from service.api.algorithms import AlgorithmViewSet
from service.api.artefacts import ArtefactContentView, ArtefactsView
from service.api.checkpoints import CheckpointContentView, CheckpointView, JobCheckpointsView
from service.api.comparisons import ComparisonPlotView, ComparisonView
from service.api.datasets import DatasetViewSet
from service.api.diagnostics import DiagnosticsView
from service.api.errors import unknown_address
from service.api.events import EventsView
from service.api.experiment_repeats import BundleView, RerunView
from service.api.experiment_reports import PlotView, ReportTableView, ReportView
from service.api.experiments import ExperimentViewSet
from service.api.health import HealthView
from service.api.jobs import JobViewSet
from service.api.logs import LogsView
from service.api.me import MeView
from service.api.metrics import MetricsView
from service.api.networks import NetworkViewSet
from service.api.openapi import DocsView, SchemaView
from service.api.recipes import RecipeViewSet
from service.api.root import RootView
from service.api.tokens import TokenViewSet
from service.api.webhooks import WebhookViewSet
from service.api.webhooks_deliveries import DeliveryViewSet
from service.api.workers import WorkerViewSet

app_name = "api"

_LIST: dict[str, Any] = {"get": "list"}
_ONE: dict[str, Any] = {"get": "retrieve"}

urlpatterns: list[URLPattern] = [
    path("", RootView.as_view(), name="root"),
    # What can be asked for
    path("algorithms", AlgorithmViewSet.as_view(_LIST), name="algorithms"),
    path("algorithms/<str:name>", AlgorithmViewSet.as_view(_ONE), name="algorithm"),
    path("networks", NetworkViewSet.as_view(_LIST), name="networks"),
    path("networks/<str:name>", NetworkViewSet.as_view(_ONE), name="network"),
    path("datasets", DatasetViewSet.as_view(_LIST), name="datasets"),
    path("datasets/<str:name>", DatasetViewSet.as_view(_ONE), name="dataset"),
    path("recipes", RecipeViewSet.as_view(_LIST), name="recipes"),
    path("recipes/<str:name>", RecipeViewSet.as_view(_ONE), name="recipe"),
    # Jobs
    path("jobs", JobViewSet.as_view({"get": "list", "post": "create"}), name="jobs"),
    path("jobs/<str:id>", JobViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="job"),
    path("jobs/<str:id>/spec", JobViewSet.as_view({"get": "spec"}), name="job-spec"),
    path("jobs/<str:id>/cancel", JobViewSet.as_view({"post": "cancel"}), name="job-cancel"),
    path("jobs/<str:id>/pause", JobViewSet.as_view({"post": "pause"}), name="job-pause"),
    path("jobs/<str:id>/resume", JobViewSet.as_view({"post": "resume"}), name="job-resume"),
    path("jobs/<str:id>/retry", JobViewSet.as_view({"post": "retry"}), name="job-retry"),
    path("jobs/<str:id>/clone", JobViewSet.as_view({"post": "clone"}), name="job-clone"),
    path("jobs/<str:id>/metrics", MetricsView.as_view(), name="job-metrics"),
    path("jobs/<str:id>/events", EventsView.as_view(), name="job-events"),
    path("jobs/<str:id>/logs", LogsView.as_view(), name="job-logs"),
    path("jobs/<str:id>/diagnostics", DiagnosticsView.as_view(), name="job-diagnostics"),
    path("jobs/<str:id>/artefacts", ArtefactsView.as_view(), name="job-artefacts"),
    path("jobs/<str:id>/artefacts/<path:name>", ArtefactContentView.as_view(), name="job-artefact-content"),
    path("jobs/<str:id>/checkpoints", JobCheckpointsView.as_view(), name="job-checkpoints"),
    path("checkpoints/<str:id>", CheckpointView.as_view(), name="checkpoint"),
    path("checkpoints/<str:id>/content", CheckpointContentView.as_view(), name="checkpoint-content"),
    path("comparisons", ComparisonView.as_view(), name="comparisons"),
    path("comparisons/plots/<str:file>", ComparisonPlotView.as_view(), name="comparison-plot"),
    # Experiments
    path("experiments", ExperimentViewSet.as_view({"get": "list", "post": "create"}), name="experiments"),
    path("experiments/<str:id>", ExperimentViewSet.as_view(_ONE), name="experiment"),
    path("experiments/<str:id>/cancel", ExperimentViewSet.as_view({"post": "cancel"}), name="experiment-cancel"),
    path("experiments/<str:id>/pause", ExperimentViewSet.as_view({"post": "pause"}), name="experiment-pause"),
    path("experiments/<str:id>/resume", ExperimentViewSet.as_view({"post": "resume"}), name="experiment-resume"),
    path("experiments/<str:id>/seeds", ExperimentViewSet.as_view({"post": "seeds"}), name="experiment-seeds"),
    path("experiments/<str:id>/report", ReportView.as_view(), name="experiment-report"),
    path("experiments/<str:id>/report.csv", ReportTableView.as_view(), name="experiment-table"),
    path("experiments/<str:id>/plots/<str:file>", PlotView.as_view(), name="experiment-plot"),
    path("experiments/<str:id>/rerun", RerunView.as_view(), name="experiment-rerun"),
    path("experiments/<str:id>/bundle", BundleView.as_view(), name="experiment-bundle"),
    # Webhooks
    path("webhooks", WebhookViewSet.as_view({"get": "list", "post": "create"}), name="webhooks"),
    path(
        "webhooks/<str:id>",
        WebhookViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="webhook",
    ),
    path(
        "webhooks/<str:id>/rotate-secret",
        WebhookViewSet.as_view({"post": "rotate_secret"}),
        name="webhook-rotate-secret",
    ),
    path("webhooks/<str:id>/test", DeliveryViewSet.as_view({"post": "test"}), name="webhook-test"),
    path("webhooks/<str:id>/deliveries", DeliveryViewSet.as_view(_LIST), name="webhook-deliveries"),
    path("webhooks/<str:id>/deliveries/<str:delivery>", DeliveryViewSet.as_view(_ONE), name="webhook-delivery"),
    path(
        "webhooks/<str:id>/deliveries/<str:delivery>/redeliver",
        DeliveryViewSet.as_view({"post": "redeliver"}),
        name="webhook-redeliver",
    ),
    # The service itself
    path("workers", WorkerViewSet.as_view(_LIST), name="workers"),
    path("me", MeView.as_view(), name="me"),
    path("tokens", TokenViewSet.as_view({"get": "list", "post": "create"}), name="tokens"),
    path("tokens/<str:key>", TokenViewSet.as_view({"delete": "destroy"}), name="token"),
    path("health", HealthView.as_view(), name="health"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(), name="docs"),
    re_path(r"^.*$", unknown_address),
]
