"""Over HTTP: dry runs, lists of jobs, rules and what they did, and the two tables of a tuned experiment."""

from typing import Any

import pytest

from service.experiments.follow_ups import advance_all
from service.experiments.models import Experiment
from service.jobs.models import Job
from service.jobs.states import State
from tests.service.api.conftest import Person
from tests.service.experiments.by_hand import end_next

BODY: dict[str, Any] = {
    "algorithms": ["backprop", "frozen"],
    "datasets": ["digits"],
    "network": {"hidden": [8, 8]},
    "training": {"epochs": 2},
    "seeds": 2,
}
TUNED = {**BODY, "tune": {"trials": 2}, "adaptive_seeds": {"half_width": 0.01, "most": 5, "least": 3, "step": 2}}


def end_all() -> None:
    """Frozen is behind by 0.2 and 0.3 in turn, so that no interval is narrow."""
    while Job.objects.filter(state=State.QUEUED).exists():
        end_next(lambda place: 0.9 if place.arm == "backprop" else 0.6 + place.seed % 2 / 10)


def test_a_dry_run_says_what_would_be_and_writes_nothing(alice: Person) -> None:
    answer = alice.post("experiments?dry_run=true", TUNED)
    assert answer.status_code == 200
    told = answer.json()
    assert told["jobs"] == {"tuning": 4, "main": 8, "extra_seeds": 12}
    assert told["arms"] == ["backprop", "frozen"]
    assert told["search_spaces"]["frozen"]["learning_rate"] == {"low": 0.0001, "high": 0.03, "scale": "log"}
    assert [(cell["arm"], cell["label"], cell["seeds"]) for cell in told["cells"]] == [
        ("backprop", "mlp 8-8 relu", [0, 1]),
        ("frozen", "mlp 8-8 relu", [0, 1]),
    ]
    flops = [cell["flops"] for cell in told["cells"]]
    assert flops[0] > flops[1] > 0
    assert told["estimate"] == {"seconds": None, "flops": pytest.approx(6 * sum(flops))}
    assert not Experiment.objects.exists()
    assert not Job.objects.exists()
    assert alice.post("experiments", told["request"]).json()["request"] == told["request"]


def test_a_dry_run_knows_what_such_jobs_have_taken(alice: Person) -> None:
    alice.post("experiments", {**BODY, "seeds": 1})
    for _ in range(2):
        end_next(lambda place: 0.9, seconds=3.0)
    assert alice.post("experiments?dry_run=true", BODY).json()["estimate"]["seconds"] == 12.0


def test_a_dry_run_names_every_wrong_part(alice: Person) -> None:
    answer = alice.post("experiments?dry_run=true", {**BODY, "datasets": ["digit"], "budget": {"jobs": 0}})
    assert answer.status_code == 400
    assert {error["pointer"] for error in answer.json()["errors"]} == {"#/budget/jobs"}
    answer = alice.post(
        "experiments?dry_run=true", {**BODY, "datasets": ["digit"], "tune": {"trials": 2, "seeds": [0]}}
    )
    assert {error["pointer"] for error in answer.json()["errors"]} == {"#/datasets/0", "#/tune/seeds"}
    assert alice.post("experiments?dry_run=maybe", BODY).status_code == 400
    assert not Experiment.objects.exists()


def test_a_list_of_jobs_is_posted_and_shown(alice: Person) -> None:
    entry = {"algorithm": "backprop", "dataset": "digits", "network": {"hidden": [8]}, "seed": 3}
    made = alice.post("experiments", {"jobs": [entry, {**entry, "algorithm": "frozen"}]}).json()
    assert (made["arms"], made["progress"]["jobs"]) == (["backprop", "frozen"], 2)
    assert [job["seed"] for job in made["request"]["jobs"]] == [3, 3]
    wrong = alice.post("experiments", {"jobs": [entry, {**entry, "algorithm": "frozne"}]}).json()
    assert [error["pointer"] for error in wrong["errors"]] == ["#/jobs/1/algorithm"]
    assert "'frozen'" in wrong["detail"]


def test_a_tuned_experiment_is_followed_from_phase_to_phase(alice: Person) -> None:
    url = alice.post("experiments", TUNED).json()["url"]
    seen = []
    for _ in range(4):
        told = alice.get(url).json()
        seen.append((told["state"], told["phase"], told["progress"]["jobs"], told["progress"]["planned"]))
        end_all()
        advance_all()
    assert seen == [
        ("running", "tuning", 8, 12),
        ("running", "main", 12, 12),
        ("running", "extra_seeds", 20, 20),
        ("running", "extra_seeds", 24, 24),
    ]
    told = alice.get(url).json()
    assert told["state"] == "finished"
    assert [look["added"] for look in told["looks"]] == [[2, 3], [4], []]
    assert told["tuning"]["counted"] == [0, 1]
    assert told["tuning"]["seconds"] == 4.0
    assert {best["arm"] for best in told["tuning"]["best"]} == {"backprop", "frozen"}
    assert alice.get("experiments").json()["results"] == [told]


def test_both_tables_can_be_had_together_and_alone(alice: Person) -> None:
    made = alice.post("experiments", {**BODY, "tune": {"trials": 2}}).json()
    for _ in range(2):
        end_all()
        advance_all()
    url = made["report_url"]
    both, tuned, plain = (
        alice.get(f"{url}{query}").json() for query in ("", "?hyperparameters=tuned", "?hyperparameters=default")
    )
    assert (both["tuned"], both["default_hyperparameters"]["scorecard"]) == (True, plain["scorecard"])
    assert (tuned["tuned"], plain["tuned"]) == (True, False)
    assert "default_hyperparameters" not in tuned
    page = alice.get(f"{url}?format=html").content.decode()
    assert "With the hyperparameters asked for, not tuned" in page
    assert alice.get(f"{url}.csv?hyperparameters=default").status_code == 200
    assert alice.get(url.replace("report", "plots/seeds.svg?hyperparameters=default")).status_code == 200
    assert alice.get(f"{url}?hyperparameters=best").status_code == 400


def test_a_tuned_table_that_there_is_not_yet_is_a_conflict(alice: Person) -> None:
    made = alice.post("experiments", {**BODY, "tune": {"trials": 2}}).json()
    end_all()
    answer = alice.get(f"{made['report_url']}?hyperparameters=tuned")
    assert answer.status_code == 409
    assert "search" in answer.json()["detail"]
    assert alice.get(made["report_url"]).json()["tuned"] is False


def test_a_spent_budget_is_told(alice: Person) -> None:
    url = alice.post("experiments", {**BODY, "budget": {"seconds": 1}}).json()["url"]
    end_next(lambda place: 0.9)
    advance_all()
    told = alice.get(url).json()
    assert (told["state"], told["reason"]) == ("finished", "budget")
    assert "3 jobs had not begun" in told["sentence"]
    assert alice.post(f"{url}/seeds", {"seeds": [9]}).status_code == 409


def test_an_experiment_between_two_phases_can_be_cancelled(alice: Person) -> None:
    url = alice.post("experiments", {**BODY, "tune": {"trials": 2}}).json()["url"]
    end_all()
    assert alice.post(f"{url}/cancel").status_code == 202
    advance_all()
    assert alice.get(url).json()["progress"]["jobs"] == 8
