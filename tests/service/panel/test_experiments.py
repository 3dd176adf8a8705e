"""The panel's list of experiments: state, progress and the way to the report; escaped, and read-only."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from service.experiments.lifecycle import create_experiment
from service.experiments.models import Experiment
from service.jobs import lifecycle

LIST = "/admin/experiments/experiment/"


@pytest.fixture
def experiment(staff: Any) -> Experiment:
    request = {"name": "<b>first</b>", "algorithms": ["backprop", "frozen"], "datasets": ["digits"], "seeds": 2}
    return create_experiment(staff, request)


def test_the_list_shows_where_an_experiment_stands_and_its_report(browser: Client, experiment: Experiment) -> None:
    lifecycle.request_cancel(experiment.jobs[0], by=experiment.owner)
    text = browser.get(LIST).content.decode()
    for shown in ("running", "1 of 4", f"/api/v1/experiments/{experiment.pk}/report?format=html"):
        assert shown in text
    assert "<b>first</b>" not in text
    jobs = reverse("admin:jobs_job_changelist") + f"?experiment={experiment.pk}"
    assert jobs in text
    assert browser.get(jobs).content.decode().count("frozen on digits, seed") >= 2


def test_a_page_asks_where_its_jobs_stand_once(
    browser: Client, staff: Any, experiment: Experiment, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        create_experiment(staff, {"algorithms": ["backprop"], "datasets": ["digits"], "seeds": 1})
    with django_assert_max_num_queries(10):
        assert browser.get(LIST).status_code == 200


@pytest.mark.parametrize("query", ["?q=first", "?o=1", "?p=0"])
def test_the_list_searches_and_orders(browser: Client, experiment: Experiment, query: str) -> None:
    assert "&lt;b&gt;first" in browser.get(LIST + query).content.decode()


def test_nothing_can_be_added_or_changed_here(browser: Client, experiment: Experiment) -> None:
    assert browser.get(f"{LIST}add/").status_code == 403
    page = f"{LIST}{experiment.pk}/change/"
    browser.post(page, {"name": "other"})
    experiment.refresh_from_db()
    assert experiment.name == "<b>first</b>"


def test_run_again_makes_a_second_experiment_of_the_same_request(browser: Client, experiment: Experiment) -> None:
    page = browser.get(reverse("admin:experiments_experiment_change", args=[experiment.pk])).content.decode()
    address = reverse("admin:experiments_experiment_rerun", args=[experiment.pk])
    assert address in page
    assert f"/api/v1/experiments/{experiment.pk}/bundle" in page
    answer = browser.post(address)
    again = Experiment.objects.exclude(pk=experiment.pk).get()
    assert answer["Location"] == reverse("admin:experiments_experiment_change", args=[again.pk])
    assert again.request == experiment.request
    assert {job.parent.experiment for job in again.jobs} == {experiment.pk}
