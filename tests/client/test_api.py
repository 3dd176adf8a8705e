"""The client against a real HTTP server that answers as the API does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from client import Client, Problem

seen: list[tuple[str, str, str | None]] = []


class Answers(BaseHTTPRequestHandler):
    """Two pages of jobs, a job that ends at its third look, a file, and a refusal."""

    looks = 0

    def do_GET(self) -> None:
        seen.append(("GET", self.path, self.headers["Authorization"]))
        if self.path.startswith("/api/v1/jobs?page=2"):
            self.answer(200, {"results": [{"id": "3"}], "next": None})
        elif self.path.startswith("/api/v1/jobs?"):
            self.answer(200, {"results": [{"id": "1"}, {"id": "2"}], "next": self.url("jobs?page=2")})
        elif self.path == "/api/v1/jobs/7":
            type(self).looks += 1
            self.answer(200, {"id": "7", "state": "succeeded" if self.looks >= 3 else "running"})
        elif self.path == "/api/v1/checkpoints/c/content":
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"bytes")
        else:
            self.answer(404, {"title": "Not found", "detail": "There is no such job.", "status": 404})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen.append(("POST", self.path, self.headers["Idempotency-Key"]))
        self.answer(400, {"detail": "No.", "errors": [{"pointer": "#/dataset", "got": body["dataset"]}]})

    def url(self, path: str) -> str:
        return f"http://{self.headers['Host']}/api/v1/{path}"

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def client() -> Iterator[Client]:
    Answers.looks = 0
    seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}/", "secret") as client:
            yield client
        server.shutdown()


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
