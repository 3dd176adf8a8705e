"""Experiments over HTTP: started, followed, cancelled, reported; each user sees their own."""

import json
from typing import Any

import pytest

from service.experiments.models import Experiment
from service.jobs import lifecycle
from service.jobs.metrics import store_diagnostics, store_metrics
from service.jobs.models import Job
from service.jobs.states import Reason
from tests.service.api.conftest import Person
from tests.service.api.work import claim_next, measured
from trainers.events import Diagnostics

BODY: dict[str, Any] = {
    "name": "small",
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8, 8]},
    "training": {"epochs": 2},
    "seeds": 2,
}


def start(person: Person, **changes: Any) -> dict[str, Any]:
    answer = person.post("experiments", {**BODY, **changes})
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def end_next(accuracy: float | None) -> None:
    """The next job, ended as a worker ends it: trained to this accuracy, or failed."""
    lease = claim_next()
    values = {"validation_accuracy": accuracy or 0.1, "train_loss": 1.0}
    store_metrics(lease, [measured(100, values), measured(200, values)])
    layers = [{"layer": f"layer{i}", "signal_norm": 10.0**-i, "angle_cosine": None} for i in (1, 2, 3)]
    moment = {"epoch": 1, "passes": 1, "samples": 100, "seconds": 0.1, "verdict": None}
    store_diagnostics(lease, [Diagnostics(step=step, layers=layers, **moment) for step in (1, 100)])
    if accuracy is None:
        lifecycle.fail(lease, Reason.DIVERGED, "It diverged.", seconds_trained=1.0)
        return
    cost = {"training_seconds": 2.0, "flops_per_sample": 10.0, "training_flops": 1e6}
    result = {"test_accuracy": accuracy, "samples": 25_600, "steps": 200, "compute_cost": cost}
    lifecycle.succeed(lease, result, progress={"fraction": 1.0}, seconds_trained=2.0)


def test_an_experiment_is_started_shown_and_listed(alice: Person) -> None:
    answer = alice.post("experiments", BODY)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["Location"] == made["url"]
    assert (made["name"], made["state"], made["counts"], made["owner"]) == ("small", "running", {"queued": 4}, "alice")
    progress = {"fraction": 0.0, "jobs": 4, "planned": 4, "ended": 0, "eta_seconds": None, "seconds_trained": 0.0}
    assert made["progress"] == progress
    assert (made["phase"], made["reason"], made["tuning"], made["looks"]) == ("main", None, None, [])
    assert made["arms"] == ["backprop", "frozen"]
    assert made["workloads"] == [{"dataset": "digits", "label": "mlp 8-8 relu", "chance": 0.1}]
    assert alice.get(made["url"]).json() == made
    assert alice.get("experiments").json() == {"next": None, "results": [made]}
    jobs = alice.get(made["jobs_url"]).json()["results"]
    assert {job["experiment"] for job in jobs} == {made["id"]}
    assert len(jobs) == 4


def test_lists_are_paged(alice: Person) -> None:
    names = [start(alice, name=f"n{number}", seeds=1)["name"] for number in range(3)]
    first = alice.get("experiments?limit=2&order=created_at").json()
    rest = alice.get(first["next"]).json()
    assert [each["name"] for each in first["results"] + rest["results"]] == names
    assert alice.get("experiments?stat=running").status_code == 400


def test_two_keys_are_a_whole_experiment(alice: Person) -> None:
    made = alice.post("experiments", {"algorithms": ["backprop", "frozen"], "datasets": ["digits"]}).json()
    assert made["progress"]["jobs"] == 20
    assert made["name"] == "backprop, frozen on digits"


def test_the_request_that_is_shown_repeats_the_experiment(alice: Person) -> None:
    made = start(alice)
    again = alice.post("experiments", made["request"]).json()
    specs = [[job.spec for job in Experiment.objects.get(pk=each["id"]).jobs] for each in (made, again)]
    assert specs[0] == specs[1]


def test_every_wrong_part_is_named_and_nothing_is_queued(alice: Person) -> None:
    answer = alice.post("experiments", {**BODY, "algorithms": ["backprop", "frozne"], "datasets": ["digit"]})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert {error["pointer"] for error in problem["errors"]} == {"#/algorithms/1", "#/datasets/0"}
    assert "'frozen'" in problem["detail"]
    assert not Job.objects.exists()


def test_the_same_key_starts_one_experiment(alice: Person) -> None:
    first, second = (alice.post("experiments", BODY, idempotency_key="once") for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert Experiment.objects.count() == 1
    assert Job.objects.count() == 4


def test_somebody_elses_is_as_unknown_as_none(alice: Person, bob: Person, staff: Person, stranger: Person) -> None:
    id = start(alice)["id"]
    for path in ("", "/report", "/report.csv", "/plots/seeds.svg"):
        assert bob.get(f"experiments/{id}{path}").status_code == 404, path
        assert stranger.get(f"experiments/{id}{path}").status_code == 401, path
    assert bob.post(f"experiments/{id}/cancel").status_code == 404
    assert bob.get("experiments").json()["results"] == []
    assert staff.get(f"experiments/{id}").json()["owner"] == "alice"
    assert alice.get("experiments/nonsense").status_code == 404


def test_cancelling_ends_what_has_not_ended(alice: Person) -> None:
    id = start(alice)["id"]
    end_next(0.9)
    lease = claim_next()
    answer = alice.post(f"experiments/{id}/cancel")
    assert answer.status_code == 202
    cancelled = answer.json()
    assert cancelled["state"] == "cancelled"
    assert cancelled["counts"] == {"cancelling": 1, "succeeded": 1, "cancelled": 2}
    assert cancelled["finished_at"] is None
    lifecycle.finish_cancel(lease)
    ended = alice.get(f"experiments/{id}").json()
    assert ended["counts"] == {"succeeded": 1, "cancelled": 3}
    assert ended["finished_at"] is not None
    assert alice.post(f"experiments/{id}/cancel").json()["state"] == "cancelled"


def test_an_experiment_that_has_ended_cannot_be_cancelled(alice: Person) -> None:
    id = start(alice, seeds=1)["id"]
    end_next(0.9)
    end_next(0.5)
    assert alice.get(f"experiments/{id}").json()["state"] == "finished"
    answer = alice.post(f"experiments/{id}/cancel")
    assert answer.status_code == 409
    assert answer.json()["type"] == "/errors/transition-refused"


def test_all_jobs_are_paused_and_resumed_at_once(alice: Person, bob: Person) -> None:
    id = start(alice)["id"]
    end_next(0.9)
    lease = claim_next()
    paused = alice.post(f"experiments/{id}/pause")
    assert paused.status_code == 202
    assert paused.json()["counts"] == {"pausing": 1, "paused": 2, "succeeded": 1}
    assert paused.json()["state"] == "running"
    assert alice.post(f"experiments/{id}/pause").status_code == 409
    lifecycle.finish_pause(lease, step=10, seconds_trained=1.0)
    assert bob.post(f"experiments/{id}/resume").status_code == 404
    assert alice.post(f"experiments/{id}/resume").json()["counts"] == {"queued": 3, "succeeded": 1}
    assert alice.post(f"experiments/{id}/resume").status_code == 409


def test_seeds_are_added_to_every_arm(alice: Person, bob: Person) -> None:
    id = start(alice, hyperparameters={"frozen": {"learning_rate": 0.25}}, priority=7)["id"]
    for accuracy in (0.9, 0.5, 0.91, 0.51):
        end_next(accuracy)
    assert alice.get(f"experiments/{id}").json()["state"] == "finished"
    assert bob.post(f"experiments/{id}/seeds", {"seeds": [7]}).status_code == 404
    answer = alice.post(f"experiments/{id}/seeds", {"seeds": [7, 3]})
    assert answer.status_code == 202
    grown = answer.json()
    assert (grown["state"], grown["counts"]) == ("running", {"queued": 4, "succeeded": 4})
    assert grown["request"]["seeds"] == [0, 1, 7, 3]
    specs = [job.spec for job in Experiment.objects.get(pk=id).jobs]
    for algorithm in ("backprop", "frozen"):
        mine = [spec for spec in specs if spec["algorithm"] == algorithm]
        assert [spec["training"].pop("seed") for spec in mine] == [0, 1, 7, 3]
        tested = [spec["training"].pop("interventions") for spec in mine]
        assert tested == [True, False, False, False], "what it declares is tested once"
        for spec in mine:  # the first claim fills these in
            del spec["training"]["device"], spec["training"]["threads"]
        assert all(spec == mine[0] for spec in mine)
    assert set(Job.objects.values_list("priority", flat=True)) == {7}


@pytest.mark.parametrize(
    ("seeds", "pointer"),
    [([2, 1], "#/seeds/1"), ([], "#/seeds"), ([5, 5], "#/seeds"), (3, "#/seeds"), (list(range(2, 501)), "#/seeds")],
)
def test_seeds_that_cannot_be_added_are_refused(alice: Person, seeds: Any, pointer: str) -> None:
    id = start(alice)["id"]
    answer = alice.post(f"experiments/{id}/seeds", {"seeds": seeds})
    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert Job.objects.count() == 4


def test_a_cancelled_experiment_takes_no_seeds(alice: Person) -> None:
    id = start(alice)["id"]
    alice.post(f"experiments/{id}/cancel")
    assert alice.post(f"experiments/{id}/seeds", {"seeds": [7]}).status_code == 409


def test_the_time_left_follows_what_such_jobs_have_taken(alice: Person) -> None:
    id = start(alice)["id"]
    end_next(0.9)
    end_next(0.5)
    claim_next()
    assert alice.get(f"experiments/{id}").json()["progress"]["eta_seconds"] == 4.0


def test_the_report_comes_in_every_format(alice: Person) -> None:
    arms = ["backprop", "frozen", "difference_target_propagation"]
    id = start(alice, name="<b>bold</b>", algorithms=arms)["id"]
    for accuracy in (0.9, 0.5, 0.88, 0.92, 0.51, None):
        end_next(accuracy)
    report = alice.get(f"experiments/{id}/report")
    assert report.status_code == 200
    data = report.json()
    assert "not enough seeds" in data["answer"]
    for arm in arms[1:]:
        assert data["scorecard"][arm]["accuracy"]["verdict"] == "not enough seeds"
    assert "1 runs that failed or diverged" in data["answer"], "published, not dropped"
    assert alice.get(f"experiments/{id}/report", if_none_match=report.headers["ETag"]).status_code == 304

    kinds = {"html": "text/html", "markdown": "text/markdown", "latex": "application/x-latex"}
    for name, kind in kinds.items():
        asked = alice.get(f"experiments/{id}/report?format={name}")
        accepted = alice.get(f"experiments/{id}/report", accept=kind)
        assert asked.content == accepted.content
        assert asked.headers["Content-Type"] == f"{kind}; charset=utf-8"
        text = asked.content.decode().replace("\\", "")
        assert all(arm in text for arm in arms[1:])
    page = alice.get(f"experiments/{id}/report", accept="text/html,application/xhtml+xml,*/*;q=0.8")
    rather_json = alice.get(f"experiments/{id}/report", accept="text/html;q=0.1, application/json")
    assert rather_json.json() == data
    assert all("Accept" in answer.headers["Vary"] for answer in (page, rather_json))
    assert "<b>bold</b>" not in page.content.decode()
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    table = alice.get(f"experiments/{id}/report.csv")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "not enough seeds" in table.content.decode()

    for name in data["plots"]:
        assert f'id="figure-{name}"' in page.content.decode()
    assert alice.get(f"experiments/{id}/plots/seeds.svg").headers["Content-Type"] == "image/svg+xml"
    assert alice.get(f"experiments/{id}/plots/seeds.png").content.startswith(b"\x89PNG")
    for unknown in ("seeds.pdf", "nothing.svg", "seeds"):
        answer = alice.get(f"experiments/{id}/plots/{unknown}")
        assert answer.status_code == 404, unknown
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_report_follows_the_jobs_that_end(alice: Person) -> None:
    id = start(alice)["id"]
    early = alice.get(f"experiments/{id}/report")
    assert early.status_code == 409
    assert "backprop" in early.json()["detail"]
    names = []
    for accuracy in (0.9, 0.5, 0.92, 0.55):
        end_next(accuracy)
        names.append(alice.get(f"experiments/{id}/report").json()["name"])
    assert "1 of 4" in names[0]
    assert "3 of 4" in names[2]
    assert names[3] == "small"


@pytest.mark.parametrize("accept", ["image/png", "text/csv"])
def test_a_format_that_there_is_not_is_refused(alice: Person, accept: str) -> None:
    id = start(alice)["id"]
    assert alice.get(f"experiments/{id}/report", accept=accept).status_code == 406
    assert alice.get(f"experiments/{id}/report?format=pdf").status_code == 400


def test_ten_seeds_give_a_verdict(alice: Person) -> None:
    id = start(alice, seeds=10)["id"]
    for seed in range(10):
        end_next(0.9 + seed / 1000)
        end_next(0.5 + seed / 500)
    report = alice.get(f"experiments/{id}/report").json()
    cell = report["scorecard"]["frozen"]["accuracy"]
    assert cell["verdict"] == "worse"
    assert len(cell["links"]) == 20
    assert json.loads(alice.get(cell["links"][0]).content)["experiment"] == id
