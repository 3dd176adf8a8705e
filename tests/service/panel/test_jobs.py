"""The panel's lists and pages: behind login, escaped, and steering only what the state allows."""

import json
import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from service.jobs.models import Job

LIST = "/admin/jobs/job/"


def page_of(job: Job) -> str:
    return reverse("admin:jobs_job_change", args=[job.pk])


@pytest.mark.parametrize("path", ["/admin/", LIST, "/admin/jobs/worker/"])
def test_strangers_are_sent_to_the_login(client: Client, db: None, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]


def test_users_who_are_not_staff_do_not_get_in(client: Client, job: Job) -> None:
    client.force_login(get_user_model().objects.create_user("bob", password="x"))
    assert client.get(page_of(job)).status_code == 302


def test_the_list_shows_state_algorithm_data_set_and_progress(browser: Client, job: Job) -> None:
    text = browser.get(LIST).content.decode()
    for shown in ("queued", "backprop", "digits", 'aria-valuenow="0"'):
        assert shown in text


@pytest.mark.parametrize("query", ["?state__exact=queued", "?q=first", "?algorithm=backprop", "?o=1", "?p=0"])
def test_the_list_filters_searches_and_orders(browser: Client, job: Job, query: str) -> None:
    answer = browser.get(LIST + query)
    assert answer.status_code == 200
    assert str(job.pk) in answer.content.decode()


def test_a_name_is_shown_as_text_and_never_as_markup(browser: Client, job: Job) -> None:
    for path in (LIST, page_of(job)):
        text = browser.get(path).content.decode()
        assert "<b>first</b>" not in text
        assert "&lt;b&gt;first&lt;/b&gt;" in text


def test_the_page_tells_all_that_is_known_and_where_its_curves_are(browser: Client, job: Job) -> None:
    text = browser.get(page_of(job)).content.decode()
    assert "Waiting for a worker." in text
    assert "batch_size" in text
    found = re.search(r'data-live="([^"]+)"', text)
    assert found is not None
    live = json.loads(found[1].replace("&quot;", '"'))
    assert browser.get(live["metrics"]).json() == {"results": []}
    assert browser.get(live["job"]).json()["state"] == "queued"
    assert browser.get(live["diagnostics"]).json()["results"] == []


def test_a_queued_job_can_be_paused_resumed_and_cancelled(browser: Client, job: Job, redis_server: str) -> None:
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        page = browser.get(page_of(job)).content.decode()
        url = reverse("admin:jobs_job_steer", args=[job.pk, action])
        assert url in page
        assert browser.post(url).status_code == 302
        job.refresh_from_db()
        assert job.state == state


def test_a_move_that_the_state_does_not_allow_is_refused_in_words(browser: Client, job: Job) -> None:
    resume = reverse("admin:jobs_job_steer", args=[job.pk, "resume"])
    assert resume not in browser.get(page_of(job)).content.decode()
    text = browser.post(resume, follow=True).content.decode()
    assert "queued" in text
    job.refresh_from_db()
    assert job.state == "queued"


def test_steering_needs_a_post(browser: Client, job: Job) -> None:
    assert browser.get(reverse("admin:jobs_job_steer", args=[job.pk, "cancel"])).status_code == 405


@pytest.mark.parametrize("pk", ["nonsense", "019a0000-0000-7000-8000-000000000000"])
def test_a_job_that_is_not_there_is_not_found(browser: Client, db: None, pk: str) -> None:
    assert browser.get(f"/admin/jobs/job/{pk}/change/").status_code == 404


def test_jobs_and_workers_cannot_be_edited_or_added(browser: Client, job: Job) -> None:
    assert browser.get("/admin/jobs/job/add/").status_code == 403
    assert browser.get(f"/admin/jobs/job/{job.pk}/delete/").status_code == 403
    assert browser.get("/admin/jobs/worker/add/").status_code == 403
    assert browser.get("/admin/jobs/worker/").status_code == 200
