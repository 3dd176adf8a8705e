"""Whatever goes wrong under /api is problem+json: unknown addresses, methods, hosts, rates, and our own mistakes."""

import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from service.api import me
from tests.service.api.conftest import SPEC, Person


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem in the answer."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    return dict(body)


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/v1/job", "/api/v1/jobs/", "/api/v2/jobs", "/api/v1/a\x00b/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_address_is_404_with_a_hint(stranger: Person, path: str, method: str) -> None:
    assert "/api/v1/docs" in problem(stranger.send(method, path), 404)["detail"]


def test_a_method_that_is_not_possible_is_405_with_those_that_are(alice: Person) -> None:
    answer = alice.send("PUT", "jobs", SPEC)
    assert "GET, POST" in problem(answer, 405)["detail"]
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "text/event-stream"])
def test_an_answer_in_another_form_is_406(alice: Person, accept: str) -> None:
    error = problem(alice.get("jobs", accept=accept), 406)["errors"][0]
    assert (error["header"], error["got"]) == ("Accept", accept)


@pytest.mark.parametrize("accept", ["application/json", "application/problem+json", "*/*", "text/html, */*;q=0.1"])
def test_json_is_given_to_whoever_takes_it(alice: Person, accept: str) -> None:
    answer = alice.get("jobs", accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize(
    "token", ["Token", "Token x", "Token x y", "Token \xff\xfe", "Token " + "a" * 64, "Bearer abc"]
)
def test_a_wrong_token_is_401(alice: Person, token: str) -> None:
    assert "Authorization: Token" in problem(alice.get("jobs", authorization=token), 401)["detail"]


def test_a_forged_host_is_400(alice: Person) -> None:
    assert "evil.example" in problem(alice.get("jobs", host="evil.example"), 400)["detail"]


def test_a_session_may_read_but_needs_its_csrf_token_to_write(alice: Person) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice.user)
    assert client.get("/api/v1/jobs").status_code == 200
    answer = client.post("/api/v1/jobs", SPEC, content_type="application/json")
    assert "CSRF" in problem(answer, 403)["detail"]


def test_a_mistake_of_ours_is_a_500_whose_incident_is_in_the_log(
    alice: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(me, "MeShown", None)
    with caplog.at_level(logging.ERROR):
        body = problem(alice.get("me"), 500)
    assert body["incident"] in body["detail"]
    (record,) = [record for record in caplog.records if record.name == "service.api.errors"]
    assert body["incident"] in record.getMessage()
    assert record.exc_info is not None
    assert "NoneType" not in body["detail"]


def test_a_database_that_is_away_is_503_and_says_that_nothing_was_stored(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("service.api.jobs.lifecycle.create_job", away)
    answer = alice.post("jobs", SPEC)
    assert "Nothing was stored" in problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"] == "5"


def test_too_many_requests_are_429_with_when_to_go_on(alice: Person, bob: Person, settings: Any) -> None:
    settings.ALTPROP_RATE_READ = "3/hour"
    assert [alice.get("me").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = alice.get("me")
    problem(answer, 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    assert bob.get("me").status_code == 200
    assert alice.post("jobs?dry_run=true", SPEC).status_code == 200


def test_strangers_are_counted_by_address(stranger: Person, settings: Any) -> None:
    settings.ALTPROP_RATE_ANONYMOUS = "2/hour"
    assert [stranger.get("").status_code for _ in range(3)] == [200, 200, 429]


def test_an_empty_rate_lifts_the_limit(alice: Person, settings: Any) -> None:
    settings.ALTPROP_RATE_READ = ""
    assert {alice.get("me").status_code for _ in range(5)} == {200}


def test_the_root_says_where_things_are(stranger: Person) -> None:
    addresses = stranger.get("").json()
    assert addresses["jobs"].endswith("/api/v1/jobs")
    assert stranger.get(addresses["schema"]).status_code == 200
