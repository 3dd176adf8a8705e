"""The client's experiments against a real HTTP server that answers as the API does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Client, Problem
from tests.client.answering import Answering, client_of

seen: list[tuple[str, str, Any]] = []


class Answers(Answering):
    """An experiment that ends at its third look, a report, files, and a refusal."""

    looks = 0

    def do_GET(self) -> None:
        seen.append(("GET", self.path, None))
        name = self.path.removeprefix("/api/v1/experiments")
        if name == "/7":
            type(self).looks += 1
            ended = self.looks >= 3
            progress = {"jobs": 4, "planned": 4, "ended": 4 if self.looks >= 2 else 1}
            self.answer(200, {"state": "finished" if ended else "running", "progress": progress})
        elif name.startswith("/7/report?format=json"):
            self.answer(200, {"answer": "Nothing here dethrones backprop."})
        elif name in ("/7/report.csv", "/7/report?format=html", "/7/plots/seeds.svg", "/7/bundle"):
            self.content(200, f"file of {name}".encode(), "text/plain")
        elif name.startswith("?page=2"):
            self.answer(200, {"results": [{"id": "2"}], "next": None})
        elif name.startswith("?") or name == "":
            self.answer(200, {"results": [{"id": "1"}], "next": self.url("experiments?page=2")})
        elif self.path.startswith("/api/v1/jobs?experiment=7"):
            self.answer(200, {"results": [{"id": "j"}], "next": None})
        else:
            self.answer(409, {"title": "That is not possible now", "detail": "No job has ended.", "status": 409})

    def do_POST(self) -> None:
        body = self.body()
        seen.append(("POST", self.path, body))
        if body == {"algorithms": []}:
            self.answer(400, {"detail": "No.", "errors": [{"pointer": "#/algorithms"}]})
            return
        self.answer(200, {"id": "7", "key": self.headers["Idempotency-Key"]})


@pytest.fixture
def client() -> Iterator[Client]:
    Answers.looks = 0
    seen.clear()
    with client_of(Answers) as client:
        yield client


def test_an_experiment_is_started_once_per_key(client: Client) -> None:
    made = client.experiments.start({"algorithms": ["backprop"]}, idempotency_key="k")
    assert made == {"id": "7", "key": "k"}
    assert seen == [("POST", "/api/v1/experiments", {"algorithms": ["backprop"]})]


def test_a_dry_run_is_asked_for_in_the_address(client: Client) -> None:
    client.experiments.dry_run({"datasets": ["digits"]})
    assert seen == [("POST", "/api/v1/experiments?dry_run=true", {"datasets": ["digits"]})]


def test_a_refusal_names_its_fields(client: Client) -> None:
    with pytest.raises(Problem, match="No") as refusal:
        client.experiments.start({"algorithms": []})
    assert refusal.value.errors == [{"pointer": "#/algorithms"}]


def test_following_sees_each_look_until_the_last_job_has_ended(client: Client) -> None:
    states: list[str] = []
    found = client.experiments.follow("7", lambda each: states.append(each["state"]), every=0.01)
    assert states == ["running", "running", "finished"]
    assert found["progress"]["ended"] == 4


def test_following_gives_up_in_time(client: Client) -> None:
    Answers.looks = -1000
    with pytest.raises(TimeoutError, match="3 jobs of the experiment have not ended"):
        client.experiments.follow("7", lambda each: None, every=0.01, timeout=0.05)


def test_it_is_steered_and_grown(client: Client) -> None:
    for name in ("pause", "resume", "cancel", "rerun"):
        getattr(client.experiments, name)("7")
    client.experiments.add_seeds("7", 10, 11)
    assert [(path.rsplit("/", 1)[-1], body) for _, path, body in seen] == [
        ("pause", None),
        ("resume", None),
        ("cancel", None),
        ("rerun", None),
        ("seeds", {"seeds": [10, 11]}),
    ]


def test_lists_are_read_page_by_page(client: Client) -> None:
    assert [each["id"] for each in client.experiments.list(limit=1)] == ["1", "2"]
    assert [each["id"] for each in client.experiments.jobs("7")] == ["j"]


def test_the_report_is_read_and_saved(client: Client, tmp_path: Path) -> None:
    assert client.experiments.report("7", hyperparameters="default")["answer"].startswith("Nothing")
    assert seen[-1][1] == "/api/v1/experiments/7/report?format=json&hyperparameters=default"
    saved = {
        "csv": client.experiments.save_report("7", tmp_path / "a", kind="csv"),
        "html": client.experiments.save_report("7", tmp_path / "b", kind="html"),
        "plot": client.experiments.save_plot("7", "seeds.svg", tmp_path / "c"),
        "zip": client.experiments.save_bundle("7", tmp_path / "d"),
    }
    assert {name: path.read_text() for name, path in saved.items()} == {
        "csv": "file of /7/report.csv",
        "html": "file of /7/report?format=html",
        "plot": "file of /7/plots/seeds.svg",
        "zip": "file of /7/bundle",
    }


def test_a_report_that_there_is_not_yet_is_a_problem_and_leaves_no_file(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No job has ended"):
        client.experiments.report("8")
    with pytest.raises(Problem):
        client.experiments.save_bundle("8", tmp_path / "x")
    assert not (tmp_path / "x").exists()
