"""The client against a real HTTP server that answers as the API does."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client import Client, Problem
from tests.client.answering import Answering, client_of

seen: list[tuple[str, str, str | None]] = []


class Answers(Answering):
    """Two pages of jobs, a job that ends at its third look, a file, and a refusal."""

    looks = 0
    away: list[int] = []
    """How the next looks go instead: a status, 200 for as usual, 0 for no answer."""

    def do_GET(self) -> None:
        status = self.away.pop(0) if self.away else 200
        if status == 0:
            self.hang_up()
            return
        if status != 200:
            self.answer(status, {"detail": "Away."})
            return
        seen.append(("GET", self.path, self.headers["Authorization"]))
        if self.path.startswith("/api/v1/jobs?page=2"):
            self.answer(200, {"results": [{"id": "3"}], "next": None})
        elif self.path.startswith("/api/v1/jobs?"):
            self.answer(200, {"results": [{"id": "1"}, {"id": "2"}], "next": self.url("jobs?page=2")})
        elif self.path == "/api/v1/jobs/7":
            type(self).looks += 1
            self.answer(200, {"id": "7", "state": "succeeded" if self.looks >= 3 else "running"})
        elif self.path == "/api/v1/checkpoints/c/content":
            self.content(200, b"bytes", "application/octet-stream")
        else:
            self.answer(404, {"title": "Not found", "detail": "There is no such job.", "status": 404})

    def do_POST(self) -> None:
        body = self.body()
        seen.append(("POST", self.path, self.headers["Idempotency-Key"]))
        self.answer(400, {"detail": "No.", "errors": [{"pointer": "#/dataset", "got": body["dataset"]}]})


@pytest.fixture
def client() -> Iterator[Client]:
    Answers.looks, Answers.away = 0, []
    seen.clear()
    with client_of(Answers) as client:
        yield client


def test_the_token_goes_with_every_request(client: Client) -> None:
    client.job("7")
    assert seen == [("GET", "/api/v1/jobs/7", "Token secret")]


def test_lists_are_read_page_by_page(client: Client) -> None:
    assert [job["id"] for job in client.jobs(state="queued")] == ["1", "2", "3"]
    assert "state=queued" in seen[0][1]


def test_following_sees_each_change_until_the_end(client: Client) -> None:
    states: list[str] = []
    jobs = client.follow(["7"], lambda job: states.append(job["state"]), every=0.01)
    assert states == ["running", "running", "succeeded"]
    assert jobs[0]["state"] == "succeeded"


def test_following_waits_while_the_service_is_restarted(client: Client) -> None:
    Answers.away = [200, 0, 503]
    client.follow(["7"], lambda _: None, every=0.01)
    assert Answers.away == []


def test_following_what_is_not_there_is_an_error(client: Client) -> None:
    Answers.away = [0]
    with pytest.raises(httpx.TransportError):
        client.follow(["7"], lambda _: None, every=0.01)
    Answers.away = [200, 404]
    with pytest.raises(Problem):
        client.follow(["7"], lambda _: None, every=0.01)


def test_following_gives_up_in_time(client: Client) -> None:
    Answers.looks = -1000
    with pytest.raises(TimeoutError, match="1 jobs have not ended"):
        client.follow(["7"], lambda job: None, every=0.01, timeout=0.05)


def test_a_refusal_is_raised_with_its_sentence_and_fields(client: Client) -> None:
    with pytest.raises(Problem, match="No") as refusal:
        client.submit({"dataset": "x"}, idempotency_key="k")
    assert refusal.value.status == 400
    assert refusal.value.errors[0]["pointer"] == "#/dataset"
    assert seen == [("POST", "/api/v1/jobs", "k")]


def test_what_is_not_there_is_a_problem_too(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no such job"):
        client.job("8")
    with pytest.raises(Problem):
        client.download("d", tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_checkpoint_is_written_to_a_file(client: Client, tmp_path: Path) -> None:
    assert client.download("c", tmp_path / "c").read_bytes() == b"bytes"
