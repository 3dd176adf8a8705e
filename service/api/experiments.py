"""`/experiments`: matrices of jobs, posted at once, followed and cancelled as one."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from service.accounts.visibility import visible_to
from service.api.base import ApiViewSet, object_in
from service.api.etag import tagged
from service.api.experiment_shape import ExperimentList, ExperimentShown
from service.api.idempotency import once
from service.api.job_parts import User, parsed_id
from service.api.jobs import IF_NONE_MATCH, KEY
from service.api.openapi import BODY, answers
from service.api.pagination import CursorPages
from service.experiments import lifecycle
from service.experiments.models import Experiment
from service.experiments.presentation import present, present_all
from service.experiments.request import ExperimentRequest, MoreSeeds


class ExperimentViewSet(ApiViewSet, GenericAPIView[Experiment]):
    """Compare algorithms: the same networks, data, seeds and budget for each."""

    queryset = Experiment.objects.all()
    pagination_class = CursorPages
    order_fields, usual_order = ("created_at", "name", "id"), "-created_at"

    def get_queryset(self) -> "QuerySet[Experiment]":
        return Experiment.objects.select_related("owner").filter(visible_to(self.request.user))

    def known_parameters(self) -> set[str]:
        return set(CursorPages.parameters) if self.action == "list" else super().known_parameters()

    @extend_schema(summary="List experiments", responses=answers(ExperimentList))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or ()
        return self.get_paginated_response(present_all(page, lambda each: _addresses(each, request)))

    @extend_schema(
        summary="Start an experiment",
        description="Every algorithm is trained on every data set with every network, once with each seed. All jobs "
        "are queued, or none: every wrong part of the request is named.",
        request=ExperimentRequest,
        parameters=[KEY],
        responses=answers(ExperimentShown, 422, *BODY, status=201),
    )
    def create(self, request: Request) -> Response:
        def make() -> Response:
            shown = _shown(lifecycle.create_experiment(request.user, object_in(request)), request)
            return Response(shown, status=201, headers={"Location": shown["url"]})

        return once(request, make)

    @extend_schema(
        summary="Show an experiment", parameters=[IF_NONE_MATCH], responses={**answers(ExperimentShown, 404), 304: None}
    )
    def retrieve(self, request: Request, id: str) -> Response:
        return tagged(request, _shown(find_experiment(request.user, id), request))

    @extend_schema(
        summary="Add seeds to an experiment",
        description="Every arm is trained with each of them too, as it was with those before.",
        request=MoreSeeds,
        parameters=[KEY],
        responses=answers(ExperimentShown, 404, 409, 422, *BODY, status=202),
    )
    def seeds(self, request: Request, id: str) -> Response:
        experiment = find_experiment(request.user, id)

        def add() -> Response:
            shown = _shown(lifecycle.add_seeds(experiment, object_in(request)), request)
            return Response(shown, status=202, headers={"Location": shown["url"]})

        return once(request, add)

    @extend_schema(
        summary="Cancel all jobs of an experiment that have not ended",
        request=None,
        responses=answers(ExperimentShown, 404, 409, status=202),
    )
    def cancel(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.request_cancel)

    @extend_schema(
        summary="Pause all jobs of an experiment",
        request=None,
        responses=answers(ExperimentShown, 404, 409, status=202),
    )
    def pause(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.request_pause)

    @extend_schema(
        summary="Resume all paused jobs of an experiment",
        request=None,
        responses=answers(ExperimentShown, 404, 409, status=202),
    )
    def resume(self, request: Request, id: str) -> Response:
        return self._steer(request, id, lifecycle.resume)

    def _steer(self, request: Request, id: str, move: Callable[..., Experiment]) -> Response:
        experiment = move(find_experiment(request.user, id), by=request.user)
        return Response(_shown(experiment, request), status=202)


def find_experiment(user: User, id: str) -> Experiment:
    """The user's experiment of that id; somebody else's is as unknown as none. Raises Http404."""
    mine = Experiment.objects.select_related("owner").filter(visible_to(user), pk=parsed_id(id, "experiment"))
    experiment = mine.first()
    if experiment is None:
        raise Http404(f"There is no experiment {id} that you may see.")
    return experiment


def _shown(experiment: Experiment, request: Request) -> dict[str, Any]:
    return present(experiment, lambda each: _addresses(each, request))


def _addresses(experiment: Experiment, request: Request) -> dict[str, str]:
    named = {"id": experiment.pk}
    return {
        "url": str(reverse("api:experiment", kwargs=named, request=request)),
        "jobs_url": f"{reverse('api:jobs', request=request)}?experiment={experiment.pk}",
        "report_url": str(reverse("api:experiment-report", kwargs=named, request=request)),
    }
