"""Comparing jobs over HTTP: what is asked for, as the API understands it."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from client import Client, Problem, compare_jobs
from tests.client.answering import Answering, client_of

asked: list[tuple[str, dict[str, list[str]]]] = []


class Answers(Answering):
    """A comparison of two jobs or more; a refusal of fewer."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        asked.append((parts.path, query))
        ids = query["jobs"][0].split(",")
        status, body = (200, {"jobs": ids}) if len(ids) > 1 else (400, {"detail": "jobs must name 2 to 50 jobs"})
        self.answer(status, body)


@pytest.fixture
def client() -> Iterator[Client]:
    asked.clear()
    with client_of(Answers) as client:
        yield client


def test_jobs_and_curves_are_asked_for_by_name(client: Client) -> None:
    found = compare_jobs(client, ["a", "b"], curves=["train_loss", "test_accuracy"], points=50)
    assert found["jobs"] == ["a", "b"]
    assert asked == [
        ("/api/v1/comparisons", {"jobs": ["a,b"], "name": ["train_loss", "test_accuracy"], "points": ["50"]})
    ]


def test_what_is_left_out_is_the_services_to_choose(client: Client) -> None:
    compare_jobs(client, ["a", "b"])
    assert asked == [("/api/v1/comparisons", {"jobs": ["a,b"]})]


def test_a_refusal_is_raised_with_its_sentence(client: Client) -> None:
    with pytest.raises(Problem, match="2 to 50"):
        compare_jobs(client, ["a"])
