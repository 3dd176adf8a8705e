"""`/experiments`: matrices of jobs, posted at once, followed and cancelled as one."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

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
from service.api.experiment_dry_run import ExperimentDryRun, dry_run
from service.api.experiment_shape import ExperimentList, ExperimentShown
from service.api.idempotency import once
from service.api.job_parts import User, parsed_id
from service.api.jobs import IF_NONE_MATCH, KEY, CreateQuery
from service.api.openapi import BODY, answers
from service.api.pagination import CursorPages
from service.api.query import parameters, parse_query
from service.experiments import lifecycle
from service.experiments.models import Experiment
from service.experiments.presentation import present, present_all
from service.experiments.request import ExperimentRequest, MoreSeeds
from service.experiments.rerun import parents_of


class ExperimentViewSet(ApiViewSet, GenericAPIView[Experiment]):
    """Compare algorithms: the same networks, data, seeds and budget for each."""

    queryset = Experiment.objects.all()
    pagination_class = CursorPages
    order_fields, usual_order = ("created_at", "name", "id"), "-created_at"
    queries = {"create": CreateQuery}

    def get_queryset(self) -> "QuerySet[Experiment]":
        return Experiment.objects.defer("cells").select_related("owner").filter(visible_to(self.request.user))

    def known_parameters(self) -> set[str]:
        return set(CursorPages.parameters) if self.action == "list" else super().known_parameters()

    @extend_schema(summary="List experiments", responses=answers(ExperimentList))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or ()
        return self.get_paginated_response(_with_parents(present_all(page, lambda each: _addresses(each, request))))

    @extend_schema(
        summary="Start an experiment",
        description="Every algorithm is trained on every data set with every network, once with each seed; or `jobs` "
        "lists every job. All jobs are queued, or none: every wrong part of the request is named. With `dry_run=true`: "
        "200, what the experiment would be, and nothing is queued.",
        request=ExperimentRequest,
        parameters=[*parameters(CreateQuery), KEY],
        responses={**answers(ExperimentShown, 422, *BODY, status=201), 200: ExperimentDryRun},
    )
    def create(self, request: Request) -> Response:
        if parse_query(CreateQuery, request).dry_run:
            return Response(dry_run(object_in(request)))

        def make() -> Response:
            shown = shown_experiment(lifecycle.create_experiment(request.user, object_in(request)), request)
            return Response(shown, status=201, headers={"Location": shown["url"]})

        return once(request, make)

    @extend_schema(
        summary="Show an experiment", parameters=[IF_NONE_MATCH], responses={**answers(ExperimentShown, 404), 304: None}
    )
    def retrieve(self, request: Request, id: str) -> Response:
        return tagged(request, shown_experiment(find_experiment(request.user, id), request))

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
            shown = shown_experiment(lifecycle.add_seeds(experiment, object_in(request)), request)
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
        return Response(shown_experiment(experiment, request), status=202)


def find_experiment(user: User, id: str) -> Experiment:
    """The user's experiment of that id; somebody else's is as unknown as none. Raises Http404."""
    mine = Experiment.objects.defer("cells").select_related("owner").filter(visible_to(user))
    experiment = mine.filter(pk=parsed_id(id, "experiment")).first()
    if experiment is None:
        raise Http404(f"There is no experiment {id} that you may see.")
    return experiment


def shown_experiment(experiment: Experiment, request: Request) -> dict[str, Any]:
    """As `ExperimentShown`, ready for JSON."""
    return _with_parents([present(experiment, lambda each: _addresses(each, request))])[0]


def _with_parents(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with the experiment that it repeats, looked up in one query."""
    parents = {str(child): str(parent) for child, parent in parents_of(UUID(each["id"]) for each in shown).items()}
    return [{**each, "parent": parents.get(each["id"])} for each in shown]


def _addresses(experiment: Experiment, request: Request) -> dict[str, str]:
    named = {"id": experiment.pk}
    return {
        "url": str(reverse("api:experiment", kwargs=named, request=request)),
        "jobs_url": f"{reverse('api:jobs', request=request)}?experiment={experiment.pk}",
        "report_url": str(reverse("api:experiment-report", kwargs=named, request=request)),
    }
