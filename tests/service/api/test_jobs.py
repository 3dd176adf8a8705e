"""Jobs over HTTP: submitted, shown, listed, steered; each user sees their own."""

import itertools
from typing import Any

import pytest

from service.jobs import lifecycle
from service.jobs.models import Event, Job
from tests.service.api.conftest import SPEC, Person
from tests.service.api.work import claim_next, store_checkpoint, tensors

SHAPE = {
    *("id", "url", "state", "reason", "sentence", "algorithm", "dataset", "network", "hyperparameters", "training"),
    *("progress", "metrics", "result", "attempt", "failures", "worker", "queue", "priority", "name", "tags", "parent"),
    *("experiment", "owner", "created_at", "queued_at", "started_at", "finished_at"),
}


def test_two_keys_are_a_whole_job(alice: Person) -> None:
    answer = alice.post("jobs", SPEC)
    assert answer.status_code == 201
    job = answer.json()
    assert set(job) >= SHAPE
    assert (job["state"], job["attempt"], job["owner"]) == ("queued", 0, "alice")
    assert answer.headers["Location"] == job["url"]
    assert alice.get(job["url"]).json()["id"] == job["id"]
    assert Job.objects.get().spec["training"]["seed"] == job["training"]["seed"]


def test_what_is_asked_for_is_what_is_stored(alice: Person) -> None:
    keys = {
        "name": "first",
        "tags": ["a", "ü"],
        "priority": -3,
        "queue": "mine",
        "max_failures": 5,
        "max_seconds": 60,
        "max_pending_seconds": 90.5,
        "not_before": "2030-01-31T12:00:00+01:00",
        "training": {"epochs": 3, "seed": 7},
        "hyperparameters": {"learning_rate": 0.01},
    }
    job = alice.submit(**keys)
    for key in ("name", "tags", "priority", "queue", "max_failures", "max_seconds", "max_pending_seconds"):
        assert job[key] == keys[key]
    assert job["not_before"] == "2030-01-31T11:00:00Z"
    assert (job["training"]["epochs"], job["training"]["seed"]) == (3, 7)
    assert job["hyperparameters"]["learning_rate"] == 0.01


def test_a_spec_posted_again_is_the_same_spec(alice: Person) -> None:
    job = alice.submit()
    spec = alice.get(f"jobs/{job['id']}/spec").json()
    again = alice.post("jobs", spec).json()
    assert alice.get(f"jobs/{again['id']}/spec").json() == spec


def test_a_dry_run_fills_in_and_estimates_but_queues_nothing(alice: Person) -> None:
    answer = alice.post("jobs?dry_run=true", SPEC)
    assert answer.status_code == 200
    body = answer.json()
    assert body["spec"]["training"]["seed"] is not None
    assert body["queue"] == "cpu"
    hidden = body["spec"]["network"]["hidden"]
    widths = [64, *hidden, 10]
    assert body["estimate"]["parameters"] == sum((below + 1) * above for below, above in itertools.pairwise(widths))
    assert body["estimate"]["training_flops"] > 0
    assert not Job.objects.exists()


def test_a_dry_run_of_a_huge_network_takes_no_memory(alice: Person) -> None:
    body = alice.post("jobs?dry_run=true", {**SPEC, "network": {"hidden": [65_536] * 20}}).json()
    assert body["estimate"]["parameters"] > 8e10
    assert body["estimate"]["training_flops"] is None


def test_a_poll_of_an_unchanged_job_is_304(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}"
    etag = alice.get(path).headers["ETag"]
    again = alice.get(path, if_none_match=etag)
    assert (again.status_code, again.content) == (304, b"")
    alice.post(f"{path}/cancel")
    changed = alice.get(path, if_none_match=etag)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("GET", ""),
        ("DELETE", ""),
        *(("GET", f"/{part}") for part in ["spec", "metrics", "events", "logs", "diagnostics", "artefacts"]),
        ("GET", "/checkpoints"),
        *(("POST", f"/{verb}") for verb in ["cancel", "pause", "resume", "retry", "clone"]),
    ],
)
def test_somebody_elses_job_is_as_unknown_as_none(alice: Person, bob: Person, method: str, part: str) -> None:
    job = alice.submit()
    theirs = bob.send(method, f"jobs/{job['id']}{part}")
    none = bob.send(method, f"jobs/0199c8d2-7a1e-7c40-8f0a-3f5f0c3a9b11{part}")
    no_id = bob.send(method, f"jobs/first{part}")
    assert {theirs.status_code, none.status_code, no_id.status_code} == {404}
    assert theirs.headers["Content-Type"] == "application/problem+json"
    assert Job.objects.get().state == "queued"


def test_staff_sees_and_steers_all_jobs(alice: Person, bob: Person, staff: Person) -> None:
    mine, theirs = alice.submit(), bob.submit()
    assert {job["id"] for job in staff.get("jobs").json()["results"]} == {mine["id"], theirs["id"]}
    assert [job["id"] for job in staff.get("jobs?owner=bob").json()["results"]] == [theirs["id"]]
    assert [job["id"] for job in alice.get("jobs").json()["results"]] == [mine["id"]]
    assert staff.post(f"jobs/{mine['id']}/cancel").json()["state"] == "cancelled"


def test_lists_filter_by_what_a_job_is(alice: Person) -> None:
    fast = alice.submit(name="Fast one", tags=["a", "b"], training={"epochs": 1})
    slow = alice.submit(name="slow one", tags=["b"], queue="mine")
    alice.post(f"jobs/{slow['id']}/cancel")

    def found(query: str) -> set[str]:
        answer = alice.get(f"jobs?{query}")
        assert answer.status_code == 200, answer.content
        return {job["name"] for job in answer.json()["results"]}

    assert found("state=queued") == {"Fast one"}
    assert found("state=queued&state=cancelled") == {"Fast one", "slow one"}
    assert found("tag=a") == {"Fast one"}
    assert found("tag=b&name=SLOW") == {"slow one"}
    assert found("search=mine") == {"slow one"}
    assert found("algorithm=backprop&dataset=digits") == {"Fast one", "slow one"}
    assert found("algorithm=other") == set()
    assert found(f"created_after={slow['created_at']}") == {"slow one"}
    assert found(f"created_before={slow['created_at']}") == {"Fast one"}
    assert found("queue=cpu") == {"Fast one"}
    assert found(f"parent={fast['id']}") == set()


@pytest.mark.parametrize("order", ["-created_at", "priority", "-priority", "name"])
def test_pages_show_each_job_once_in_order(alice: Person, order: str) -> None:
    for number in range(7):
        alice.submit(name=f"job {number % 3}", priority=number % 2)
    seen: list[dict[str, Any]] = []
    following = f"jobs?limit=2&order={order}"
    while following:
        page = alice.get(following).json()
        assert len(page["results"]) <= 2
        seen += page["results"]
        following = page["next"]
    assert len({job["id"] for job in seen}) == len(seen) == 7
    field = order.lstrip("-")
    values = [job[field] for job in seen]
    assert values == sorted(values, reverse=order.startswith("-"))


def test_jobs_added_meanwhile_do_not_shift_a_page(alice: Person) -> None:
    old = [alice.submit()["id"] for _ in range(3)]
    first = alice.get("jobs?limit=2").json()
    alice.submit()
    second = alice.get(first["next"]).json()
    assert [job["id"] for job in first["results"] + second["results"]] == old[::-1]


@pytest.mark.parametrize(
    ("query", "parameter", "hint"),
    [
        ("staet=queued", "staet", "Did you mean 'state'?"),
        ("state=runing", "state", "Did you mean 'running'?"),
        ("order=creatd_at", "order", "Did you mean 'created_at'?"),
        ("limit=0", "limit", "1 to 500"),
        ("limit=abc", "limit", "1 to 500"),
        ("limit=%D9%A1", "limit", "1 to 500"),
        ("created_after=yesterday", "created_after", "yesterday"),
        ("experiment=5", "experiment", "5"),
        ("cursor=abc", "cursor", "Start again"),
        ("name=%00", "name", "ull"),
    ],
)
def test_a_wrong_parameter_of_a_list_is_named(alice: Person, query: str, parameter: str, hint: str) -> None:
    answer = alice.get(f"jobs?{query}")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["parameter"] == parameter
    assert hint in error["detail"]


def test_a_cursor_belongs_to_its_order(alice: Person) -> None:
    alice.submit(), alice.submit()
    following = alice.get("jobs?limit=1&order=name").json()["next"]
    answer = alice.get(following.replace("order=name", "order=created_at"))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "cursor"


def test_a_waiting_job_is_paused_resumed_and_cancelled(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}"
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = alice.post(f"{path}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (202, state)


def test_what_the_state_forbids_is_409_with_what_to_do(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}"
    for verb in ("resume", "retry"):
        answer = alice.post(f"{path}/{verb}")
        assert answer.status_code == 409
        assert answer.json()["type"] == "/errors/transition-refused"
        assert "queued" in answer.json()["detail"]


def test_a_running_job_is_deleted_only_after_it_was_cancelled(alice: Person) -> None:
    path = f"jobs/{alice.submit()['id']}"
    lease = claim_next()
    answer = alice.send("DELETE", path)
    assert answer.status_code == 409
    assert "cancel it first" in answer.json()["detail"]
    assert alice.post(f"{path}/cancel").json()["state"] == "cancelling"
    lifecycle.finish_cancel(lease)
    assert alice.send("DELETE", path).status_code == 204
    assert alice.get(path).status_code == 404
    assert not Event.objects.exists()


def test_a_retry_goes_on_from_the_last_checkpoint(alice: Person) -> None:
    job = alice.submit(name="first", tags=["a"])
    lease = claim_next()
    checkpoint = store_checkpoint(lease, tensors(0.01))
    alice.post(f"jobs/{job['id']}/cancel")
    lifecycle.finish_cancel(lease)
    answer = alice.post(f"jobs/{job['id']}/retry")
    assert answer.status_code == 201
    again = answer.json()
    assert answer.headers["Location"] == again["url"]
    assert (again["parent"], again["start_from_checkpoint"]) == (job["id"], str(checkpoint.pk))
    assert (again["name"], again["tags"], again["attempt"]) == ("first", ["a"], 0)


def test_a_clone_is_the_same_but_for_what_is_said(alice: Person) -> None:
    job = alice.submit(name="first", tags=["a"], training={"epochs": 3, "seed": 7}, priority=2)
    same = alice.post(f"jobs/{job['id']}/clone").json()
    other = alice.post(f"jobs/{job['id']}/clone", {"training": {"epochs": 4, "seed": None}, "name": "second"}).json()
    assert same["training"] == job["training"]
    assert (same["parent"], same["tags"], same["priority"]) == (job["id"], ["a"], 2)
    assert (other["training"]["epochs"], other["name"], other["tags"]) == (4, "second", ["a"])
    assert other["training"]["seed"] != 7
    assert other["network"] == job["network"]


def test_a_clone_on_another_network_takes_that_networks_defaults(alice: Person) -> None:
    job = alice.submit(network={"kind": "mlp", "hidden": [5]})
    other = alice.post(f"jobs/{job['id']}/clone", {"network": {"kind": "convnet"}}).json()
    assert other["network"]["kind"] == "convnet"


def test_a_clone_is_checked_like_any_job(alice: Person) -> None:
    job = alice.submit()
    answer = alice.post(f"jobs/{job['id']}/clone", {"training": {"epochs": True}})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/training/epochs"
    assert Job.objects.count() == 1


def test_a_job_starts_from_ones_own_checkpoints_only(alice: Person, bob: Person) -> None:
    alice.submit()
    checkpoint = store_checkpoint(claim_next(), tensors(0.01))
    body = {**SPEC, "start_from_checkpoint": str(checkpoint.pk)}
    assert alice.post("jobs", body).json()["start_from_checkpoint"] == str(checkpoint.pk)
    refusal = bob.post("jobs", body)
    assert refusal.status_code == 400
    assert refusal.json()["errors"][0]["pointer"] == "#/start_from_checkpoint"
