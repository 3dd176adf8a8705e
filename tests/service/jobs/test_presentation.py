"""A job as API and panel show it."""

from typing import Any

import pytest

from service.jobs.models import Job
from service.jobs.presence import Identity, say_goodbye, show
from service.jobs.presentation import present, present_all
from service.jobs.queue import claim

pytestmark = pytest.mark.django_db

# DESIGN.md names these; more may come beside them.
DESIGNED = {
    *("id", "url", "state", "reason", "sentence", "algorithm", "dataset", "network", "hyperparameters", "training"),
    *("progress", "metrics", "result", "attempt", "failures", "worker", "queue", "priority", "name", "tags", "parent"),
    *("experiment", "owner", "created_at", "queued_at", "started_at", "finished_at"),
}


def shown(job: Job) -> dict[str, Any]:
    return present(Job.objects.with_progress().get(pk=job.pk), "http://here/jobs/1")


def test_a_new_job_has_the_designed_shape(make_job: Any) -> None:
    job = make_job(name="first", tags=["a"])
    view = shown(job)
    assert view.keys() >= DESIGNED
    assert (view["state"], view["reason"], view["attempt"], view["owner"]) == ("queued", None, 0, "alice")
    assert (view["name"], view["tags"], view["url"]) == ("first", ["a"], "http://here/jobs/1")
    assert view["training"]["seed"] == 7
    assert view["created_at"].endswith("Z")
    assert view["finished_at"] is view["result"] is view["worker"] is None


def test_a_job_that_waits_in_vain_says_why(make_job: Any) -> None:
    job = make_job()
    assert shown(job)["sentence"].startswith("No live worker serves the queue 'cpu'")
    worker = Identity.new("cpu-1", cores=2)
    show(worker, job=None)
    assert shown(job)["sentence"] == "Waiting for a worker."
    cuda = make_job(training={"device": "cuda"}, queue="cpu")
    assert "has the device that the job asks for, cuda" in shown(cuda)["sentence"]
    assert "asks for 9 threads" in shown(make_job(training={"threads": 9}))["sentence"]
    say_goodbye(worker)
    assert shown(job)["sentence"].startswith("No live worker")


def test_a_running_job_names_its_worker(make_job: Any) -> None:
    job = make_job()
    claim(Identity.new("cpu-1", cores=2).capacity)
    view = shown(job)
    assert (view["state"], view["worker"], view["sentence"]) == ("running", "cpu-1", "Training on worker cpu-1.")
    assert view["started_at"] is not None


def test_a_page_of_jobs_costs_as_many_queries_as_one_job(make_job: Any, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        make_job()
    with django_assert_num_queries(3):  # jobs with owners, summaries, workers
        assert len(present_all(Job.objects.with_progress(), lambda job: "")) == 5
