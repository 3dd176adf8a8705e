"""`/jobs?state=…&tag=…`: which jobs a list shows."""

from typing import Any

import django_filters as filters  # type: ignore[import-untyped]
from django.db.models import Q, QuerySet
from django_filters.rest_framework import DjangoFilterBackend  # type: ignore[import-untyped]
from rest_framework.request import Request

from service.api.problem import InvalidParameter, ParameterError
from service.jobs.models import Job
from service.jobs.states import State
from trainers.spec import did_you_mean


class JobFilter(filters.FilterSet):
    """Conditions, joined by "and"; `state` may be repeated, and then any of them will do."""

    state = filters.MultipleChoiceFilter(choices=State.choices, label="any of these states")
    algorithm = filters.CharFilter(label="trains with this algorithm")
    dataset = filters.CharFilter(label="trains on this data set")
    tag = filters.CharFilter(method="with_tag", label="has this tag")
    name = filters.CharFilter(lookup_expr="icontains", label="name contains this, in upper or lower case")
    search = filters.CharFilter(method="found", label="name, algorithm, data set, queue, or a whole tag")
    queue = filters.CharFilter(label="waits or waited in this queue")
    owner = filters.CharFilter(field_name="owner__username", label="username; of use to staff")
    experiment = filters.UUIDFilter(label="belongs to this experiment")
    parent = filters.UUIDFilter(field_name="parent_id", label="made from this job by retry or clone")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte", label="ISO time")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt", label="ISO time")

    class Meta:
        model = Job
        fields: list[str] = []

    def with_tag(self, jobs: "QuerySet[Job]", name: str, value: str) -> "QuerySet[Job]":
        return jobs.filter(tags__contains=[value])

    def found(self, jobs: "QuerySet[Job]", name: str, value: str) -> "QuerySet[Job]":
        fields = ("name", "algorithm", "dataset", "queue")
        anywhere = Q(tags__contains=[value])
        for field in fields:
            anywhere |= Q(**{f"{field}__icontains": value})
        return jobs.filter(anywhere)


class JobFilterBackend(DjangoFilterBackend):
    """Wrong values are errors that name the parameter, what came and what is allowed."""

    def filter_queryset(self, request: Request, queryset: "QuerySet[Any]", view: Any) -> "QuerySet[Any]":
        filterset = self.get_filterset(request, queryset, view)
        if filterset is None:
            return queryset
        if not filterset.is_valid():
            raise InvalidParameter.of(_error(filterset, name, messages) for name, messages in filterset.errors.items())
        return filterset.qs


def _error(filterset: filters.FilterSet, name: str, messages: list[str]) -> ParameterError:
    sent = filterset.data.getlist(name) if hasattr(filterset.data, "getlist") else [filterset.data.get(name)]
    choices = [str(value) for value, _ in getattr(filterset.form.fields[name], "choices", ())]
    wrong = next((value for value in sent if value not in choices), None) if choices else sent[-1]
    shown = str(wrong)[:80]
    if choices:
        detail = f"{name} must be one of: {', '.join(choices)}; got {shown!r}.{did_you_mean(shown, choices)}"
        return ParameterError(name, detail, wrong, tuple(choices))
    return ParameterError(name, f"{name}: {' '.join(map(str, messages))} Got {shown!r}.", wrong)
