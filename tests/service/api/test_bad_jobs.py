"""Every bad job is refused with the field, what came and what is allowed; nothing is queued and nothing is a 500."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client

from service.jobs.models import Job
from tests.service.api.conftest import SPEC, Person

PROBLEM = "application/problem+json"


def refused(answer: Any, status: int) -> dict[str, Any]:
    """The problem in the answer, whose shape is checked."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("/errors/")
    assert problem["title"]
    assert problem["detail"]
    assert not Job.objects.exists()
    return dict(problem)


@pytest.mark.parametrize(
    ("change", "pointer", "hint"),
    [
        ({"algorithm": "bakprop"}, "#/algorithm", "Did you mean 'backprop'?"),
        ({"dataset": "digit"}, "#/dataset", "Did you mean 'digits'?"),
        ({"network": {"kind": "mlpp"}}, "#/network/kind", "Did you mean 'mlp'?"),
        ({"network": {"kind": "mlp", "hiden": [3]}}, "#/network/hiden", "Did you mean 'hidden'?"),
        ({"network": {"kind": "mlp", "activation": "relo"}}, "#/network/activation", "Did you mean 'relu'?"),
        ({"hyperparameters": {"learning_rat": 1}}, "#/hyperparameters/learning_rat", "Did you mean 'learning_rate'?"),
        ({"training": {"epoch": 1}}, "#/training/epoch", "Did you mean 'epochs'?"),
        ({"algoritm": "backprop"}, "#/algoritm", "Did you mean 'algorithm'?"),
        ({"priorty": 1}, "#/priorty", "Did you mean 'priority'?"),
        ({"training": {"epochs": True}}, "#/training/epochs", "got true"),
        ({"training": {"epochs": "5"}}, "#/training/epochs", 'got "5"'),
        ({"training": {"epochs": -1}}, "#/training/epochs", "got -1"),
        ({"training": {"epochs": 0}}, "#/training/epochs", "got 0"),
        ({"training": {"epochs": 2.5}}, "#/training/epochs", "got 2.5"),
        ({"training": {"epochs": None}}, "#/training/epochs", "got null"),
        ({"training": [1]}, "#/training", "got [1]"),
        ({"algorithm": 5}, "#/algorithm", "got 5"),
        ({"algorithm": ""}, "#/algorithm", 'got ""'),
        ({"network": "mlp"}, "#/network", 'got "mlp"'),
        ({"network": {"kind": ["mlp"]}}, "#/network/kind", "must be a name"),
        ({"network": {"hidden": [0]}}, "#/network/hidden/0", "got 0"),
        ({"tags": "fast"}, "#/tags", 'got "fast"'),
        ({"tags": ["a", "a"]}, "#/tags", "once"),
        ({"name": "x" * 201}, "#/name", "200"),
        ({"priority": 10**6}, "#/priority", "1000"),
        ({"max_failures": 0}, "#/max_failures", "got 0"),
        ({"max_seconds": 0}, "#/max_seconds", "got 0"),
        ({"not_before": 1700000000}, "#/not_before", "got 1700000000"),
        ({"not_before": "tomorrow"}, "#/not_before", "ISO"),
        ({"not_before": "2026-01-31T12:00:00"}, "#/not_before", "zone"),
        ({"not_before": "9999-12-31T23:59:59-23:00"}, "#/not_before", "years"),
        ({"start_from_checkpoint": "last"}, "#/start_from_checkpoint", "id"),
        (
            {"start_from_checkpoint": "0199c8d2-7a1e-7c40-8f0a-3f5f0c3a9b11"},
            "#/start_from_checkpoint",
            "no checkpoint",
        ),
    ],
)
def test_a_wrong_field_is_named(alice: Person, change: dict[str, Any], pointer: str, hint: str) -> None:
    problem = refused(alice.post("jobs", {**SPEC, **change}), 400)
    (error,) = [error for error in problem["errors"] if error["pointer"] == pointer]
    assert hint in error["detail"]
    assert "got" in error
    assert error["detail"] in problem["detail"]


def test_what_is_allowed_is_listed(alice: Person) -> None:
    problem = refused(alice.post("jobs", {**SPEC, "dataset": "minst"}), 400)
    assert "mnist" in problem["errors"][0]["allowed"]


def test_all_wrong_fields_are_named_together(alice: Person) -> None:
    body = {"algorithm": "bakprop", "dataset": "minst", "network": {"kind": "cnnn"}}
    problem = refused(alice.post("jobs", body), 400)
    assert [error["pointer"] for error in problem["errors"]] == ["#/algorithm", "#/dataset", "#/network/kind"]


def test_missing_fields_are_named(alice: Person) -> None:
    for body in ({}, None):
        problem = refused(alice.post("jobs", body), 400)
        assert {error["pointer"] for error in problem["errors"]} == {"#/algorithm", "#/dataset"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"algorithm": "backprop", "dataset": "digits", "training": {"epochs": NaN}}', "#/training/epochs"),
        ('{"algorithm": "backprop", "dataset": "digits", "max_seconds": Infinity}', "#/max_seconds"),
        ('{"algorithm": "backprop", "dataset": "digits", "max_seconds": 1e999}', "#/max_seconds"),
        ('{"algorithm": "backprop", "dataset": "digits", "dataset": "mnist"}', "#/dataset"),
        (r'{"algorithm": "backprop", "dataset": "digits", "name": "a\u0000"}', "#/name"),
        (r'{"algorithm": "backprop", "dataset": "digits", "tags": ["\ud800"]}', "#/tags/0"),
        ('{"algorithm": "backprop", "dataset": "digits", "priority": 1' + "0" * 5000 + "}", "#/priority"),
        ('{"x": ' + "[" * 100_000, "#"),
        ("[" * 100_000 + "]" * 100_000, "#"),
        ('[{"algorithm": "backprop", "dataset": "digits"}]', "#"),
        ('"backprop"', "#"),
        ("null", "#"),
        ("{", "#"),
        (b'{"algorithm": "\xff"}', "#"),
    ],
)
def test_a_body_that_is_not_strict_json_is_refused(alice: Person, body: str | bytes, pointer: str) -> None:
    problem = refused(alice.post("jobs", body), 400)
    assert problem["type"] == "/errors/malformed-json"
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["errors"][0]["allowed"]


def test_a_body_of_two_megabytes_is_413(alice: Person) -> None:
    problem = refused(alice.post("jobs", {**SPEC, "name": "x" * 2_000_000}), 413)
    assert problem["errors"][0]["allowed"] == [1024 * 1024]


def test_long_values_come_back_cut(alice: Person) -> None:
    answer = alice.post("jobs", {**SPEC, "algorithm": "x" * 500_000, "y" * 100_000: 1})
    refused(answer, 400)
    assert len(answer.content) < 20_000


def test_thousands_of_wrong_keys_do_not_make_a_huge_answer(alice: Person) -> None:
    answer = alice.post("jobs", {**SPEC, "hyperparameters": {f"k{n}": n for n in range(5_000)}})
    problem = refused(answer, 400)
    assert len(problem["errors"]) == 50


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"])
def test_a_body_that_is_not_json_by_its_type_is_415(alice: Person, kind: str) -> None:
    problem = refused(alice.post("jobs", json.dumps(SPEC), content_type=kind), 415)
    assert problem["errors"] == [
        {
            "header": "Content-Type",
            "detail": problem["detail"],
            "got": kind,
            "allowed": ["application/json"],
        }
    ]


def test_a_body_without_a_length_is_411(alice: Person) -> None:
    headers = {"HTTP_AUTHORIZATION": f"Token {alice.token}", "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = Client().generic("POST", "/api/v1/jobs", b"", CONTENT_TYPE="application/json", **headers)
    problem = refused(answer, 411)
    assert problem["errors"][0]["header"] == "Content-Length"


def test_combinations_that_cannot_be_trained_are_refused(alice: Person) -> None:
    problem = refused(alice.post("jobs", {**SPEC, "network": {"activation": "sign"}}), 400)
    assert problem["type"] == "/errors/unsupported-network"
    assert problem["errors"][0]["pointer"] == "#/network/activation"


@pytest.mark.parametrize("path", ["jobs?dry_run=maybe", "jobs?dryrun=true", "jobs?limit=5"])
def test_a_wrong_query_parameter_is_an_error_too(alice: Person, path: str) -> None:
    problem = refused(alice.post(path, SPEC), 400)
    assert problem["type"] == "/errors/invalid-parameter"
    assert problem["errors"][0]["parameter"] in path


def test_a_stranger_may_not_submit(stranger: Person) -> None:
    answer = stranger.post("jobs", SPEC)
    problem = refused(answer, 401)
    assert "Authorization: Token" in problem["detail"]
    assert answer.headers["WWW-Authenticate"] == "Token"


def test_arrays_are_read_from_the_opened_folder_alone(alice: Person, settings: Any, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    opened.mkdir()
    rng = np.random.default_rng(0)
    for folder in (opened, tmp_path):
        np.savez(folder / "own.npz", x_train=rng.normal(size=(60, 4)).astype(np.float32), y_train=np.arange(60) % 3)
    spec = {"algorithm": "backprop", "dataset": "arrays", "training": {"epochs": 1}}

    def posted(path: Path) -> Any:
        return alice.post("jobs", {**spec, "dataset_options": {"path": str(path), "validation_size": 10}})

    assert "ALTPROP_ARRAYS_DIR" in refused(posted(opened / "own.npz"), 400)["detail"]
    settings.ALTPROP_ARRAYS_DIR = str(opened)
    for path in (tmp_path / "own.npz", opened / ".." / "own.npz", Path("/etc/passwd")):
        assert refused(posted(path), 400)["errors"][0]["pointer"] == "#/dataset_options/path"
    assert posted(opened / "own.npz").status_code == 201
