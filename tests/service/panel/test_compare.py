"""Selected jobs are compared: from the list, by an action, to a page that is fed by the API."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from service.jobs import lifecycle
from service.jobs.models import Job
from trainers.resolve import resolve

LIST = "/admin/jobs/job/"


@pytest.fixture
def jobs(staff: Any, job: Job) -> list[Job]:
    spec = {"algorithm": "frozen", "dataset": "digits", "training": {"epochs": 3, "seed": 1}}
    return [job, lifecycle.create_job(staff, resolve(spec))]


def select(browser: Client, jobs: list[Job]) -> Any:
    chosen = [str(job.pk) for job in jobs]
    return browser.post(LIST, {"action": "compare_selected", "_selected_action": chosen})


def test_selected_jobs_lead_to_their_comparison(browser: Client, jobs: list[Job]) -> None:
    assert "Compare the selected jobs" in browser.get(LIST).content.decode()
    answer = select(browser, jobs[::-1])
    assert answer.status_code == 302
    assert answer["Location"] == f"{LIST}compare/?jobs={jobs[0].pk},{jobs[1].pk}"
    text = browser.get(answer["Location"]).content.decode()
    live = json.loads(re.search(r'data-live="([^"]+)"', text)[1].replace("&quot;", '"'))  # type: ignore[index]
    found = browser.get(live["comparison"]).json()
    assert [each["id"] for each in found["jobs"]] == [str(job.pk) for job in jobs]
    assert browser.get(live["job_page"].replace("JOB", str(jobs[1].pk))).status_code == 200


def test_too_few_are_refused_in_words(browser: Client, jobs: list[Job]) -> None:
    answer = select(browser, jobs[:1])
    text = browser.get(answer["Location"]).content.decode() if answer.status_code == 302 else answer.content.decode()
    assert "Select 2 to 50 jobs to compare; 1 were selected." in text


def test_the_page_is_behind_the_login_and_takes_any_text(client: Client, browser: Client, db: None) -> None:
    page = f"{LIST}compare/?jobs=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
    text = browser.get(page).content.decode()
    assert "<script>alert(1)" not in text
    client.logout()
    assert "/admin/login/" in client.get(page)["Location"]


def test_the_action_is_the_only_one(browser: Client, jobs: list[Job]) -> None:
    text = browser.get(LIST).content.decode()
    assert "delete_selected" not in text
    answer = browser.post(LIST, {"action": "delete_selected", "_selected_action": [str(jobs[0].pk)], "post": "yes"})
    assert answer.status_code in (200, 302, 403)
    assert Job.objects.filter(pk=jobs[0].pk).exists()
