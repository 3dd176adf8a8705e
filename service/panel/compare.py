"""Jobs side by side: the action on the list of jobs, and the page that it leads to. Both are fed by the API's JSON."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from service.experiments.side_by_side import LEAST_JOBS, MOST_JOBS
from service.jobs.models import Job


@admin.action(description="Compare the selected jobs")
def compare_selected(_: Any, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
    """To the page of these jobs, oldest first; where there are too few or too many, back with a sentence."""
    ids = list(jobs.order_by("id").values_list("pk", flat=True)[: MOST_JOBS + 1])
    if not LEAST_JOBS <= len(ids) <= MOST_JOBS:
        many = f"more than {MOST_JOBS}" if len(ids) > MOST_JOBS else str(len(ids))
        messages.error(request, f"Select {LEAST_JOBS} to {MOST_JOBS} jobs to compare; {many} were selected.")
        return None
    return HttpResponseRedirect(compare_address(ids))


def compare_address(jobs: Sequence[Any]) -> str:
    """The page's address."""
    return f"{reverse('admin:jobs_job_compare')}?{urlencode({'jobs': ','.join(map(str, jobs))}, safe=',')}"


def compare_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Shows what `/api/v1/comparisons` says of `?jobs=`, and its sentence where it refuses."""
    sought = urlencode({"jobs": request.GET.get("jobs", "")}, safe=",")
    context = {
        **site.each_context(request),
        "title": "Compare jobs",
        "opts": Job._meta,
        "live": json.dumps(
            {
                "comparison": f"{reverse('api:comparisons')}?{sought}",
                "job_page": reverse("admin:jobs_job_change", args=["JOB"]),
            }
        ),
    }
    return render(request, "panel/compare.html", context)
