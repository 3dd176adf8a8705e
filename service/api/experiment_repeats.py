"""`/experiments/{id}/rerun` and `/bundle`: to repeat an experiment, here or anywhere."""

from collections.abc import Iterator
from itertools import chain

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from service.api.base import ApiView
from service.api.experiment_reports import ExperimentPart
from service.api.experiment_shape import ExperimentShown
from service.api.experiments import find_experiment, shown_experiment
from service.api.idempotency import once
from service.api.jobs import KEY
from service.api.openapi import answers, refusals
from service.api.problem import Conflict
from service.experiments.bundle import bundle
from service.experiments.readme import folder_of
from service.experiments.rerun import rerun


class RerunView(ApiView):
    """An experiment once more."""

    @extend_schema(
        operation_id="experiments_rerun_create",
        summary="Run an experiment again",
        description="A new experiment from the same request, that names this one as its parent; each of its jobs names "
        "the job that it repeats. To change something, post a changed `request` to /experiments instead.",
        request=None,
        parameters=[KEY],
        responses=answers(ExperimentShown, 404, 422, status=201),
    )
    def post(self, request: Request, id: str) -> Response:
        origin = find_experiment(request.user, id)

        def make() -> Response:
            shown = shown_experiment(rerun(origin, by=request.user), request)
            return Response(shown, status=201, headers={"Location": shown["url"]})

        return once(request, make)


class BundleView(ExperimentPart):
    """An experiment as a file."""

    @extend_schema(
        operation_id="experiments_bundle_retrieve",
        summary="All that is needed to repeat an experiment, as a zip",
        description="Request, specs, results, every point of every curve, the report in every format with its figures, "
        "versions, commit and lock file, and a README with the commands that repeat a run without the service.",
        responses={**refusals(404), (200, "application/zip"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, id: str) -> HttpResponseBase:
        experiment = find_experiment(request.user, id)
        headers = {"Content-Disposition": f'attachment; filename="{folder_of(experiment)}.zip"'}
        if request.method == "HEAD":
            return HttpResponse(headers=headers, content_type="application/zip")
        try:
            report = self.report()
        except Conflict:
            report = None  # nothing to report yet: the rest is worth having all the same
        pieces = _begun(bundle(experiment, report))
        return StreamingHttpResponse(pieces, headers=headers, content_type="application/zip")


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """With its first piece made at once: what goes wrong there is an answer, not a broken one."""
    return chain([next(pieces)], pieces)
