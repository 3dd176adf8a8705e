"""The OpenAPI document: valid, free of warnings, true to the models, and true to how the service answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api.job_request import JobRequest
from service.api.openapi import document
from service.jobs.presence import Identity, show
from tests.service.api.conftest import Person

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
TAKE_BODIES = {
    "POST /api/v1/jobs",
    "POST /api/v1/tokens",
    "POST /api/v1/experiments",
    "POST /api/v1/experiments/{id}/seeds",
    "POST /api/v1/webhooks",
    "PATCH /api/v1/webhooks/{id}",
}


def test_the_document_is_valid_and_made_without_warnings(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))


def test_the_body_of_a_job_is_the_model_itself(stranger: Person) -> None:
    made = stranger.get("schema").json()
    assert made["openapi"].startswith("3.1")
    job = made["components"]["schemas"]["JobRequest"]
    assert set(job["properties"]) == set(JobRequest.model_fields)
    assert job["required"] == ["algorithm", "dataset"]
    assert job["additionalProperties"] is False
    assert made["components"]["schemas"]["Training"]["properties"]["epochs"]["minimum"] == 1


def test_every_address_documents_its_problems() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            refusal = operation["responses"]["400"]["content"]["application/problem+json"]["schema"]
            assert refusal == {"$ref": "#/components/schemas/Problem"}, (method, path)
            assert operation["summary"], (method, path)


def test_the_page_of_docs_needs_no_network(stranger: Person) -> None:
    answer = stranger.get("docs", accept="text/html")
    assert answer.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', answer.content.decode())
    assert sources
    for source in sources:
        assert source.startswith("/static/"), source
        assert finders.find(source.removeprefix("/static/")), source


@contextmanager
def connection_kept() -> Iterator[None]:
    """Requests leave their connection open, as it is the test's own, within a transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_made_from_the_document_is_a_mistake_of_ours(
    alice: Person, redis_server: str, mode: GenerationMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Well-formed requests to every address, also to those of what is there; malformed ones where bodies go."""
    job = alice.submit()["id"]
    asked_for = {"algorithms": ["backprop"], "datasets": ["digits"], "seeds": 1}
    experiment = alice.post("experiments", asked_for).json()["id"]
    monkeypatch.setattr(django_settings, "ALTPROP_HEARTBEAT_SECONDS", 600)  # so that one sign of life is enough
    show(Identity.new("cpu-1", cores=2), job=None)
    asked = 0
    with connection_kept():
        schema = schemathesis.openapi.from_wsgi("/api/v1/schema", get_wsgi_application())
        for found in schema.get_all_operations():
            operation = found.ok()
            if mode is GenerationMode.NEGATIVE and operation.label not in TAKE_BODIES:
                continue
            there = {"id": experiment if "/experiments/" in operation.path else job}
            ids: list[dict[str, Any]] = [{}, {"path_parameters": there}] if "{id}" in operation.path else [{}]
            for known in ids:
                _try(operation.as_strategy(mode, **known), alice)
                asked += 1
    assert asked >= (len(TAKE_BODIES) if mode is GenerationMode.NEGATIVE else 40)


def _try(cases: SearchStrategy[Any], person: Person) -> None:
    @given(cases)
    @settings(
        max_examples=3,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: Any) -> None:
        cache.clear()  # rates are another test's
        headers = {"Authorization": f"Token {person.token}"}
        answer = case.call(headers=headers, base_url="http://localhost")
        case.validate_response(answer, checks=CHECKS)

    answered()


def test_every_address_stands_in_the_reference() -> None:
    page = (django_settings.BASE_DIR / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for path in document()["paths"]:
        words = [part for part in path.removeprefix("/api/v1/").split("/") if part and not part.startswith("{")]
        assert all(word in page for word in words), path
