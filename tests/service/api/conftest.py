"""People with tokens, for tests that speak to the API as a client does: `alice.post("jobs", {...})`."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client

from service.accounts.tokens import make_token

ROOT = "/api/v1/"
SPEC = {"algorithm": "backprop", "dataset": "digits"}


@dataclass(frozen=True)
class Person:
    """One who sends requests; exceptions become answers, as they do in service."""

    user: Any
    token: str | None

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """`body` is sent as it is where it is bytes or text, else as JSON. The answer has `.json()`."""
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            named.setdefault("authorization", f"Token {self.token}")
        kind = named.pop("content-type", "application/json")
        client = Client(raise_request_exception=False)
        address = path if path.startswith(("/", "http")) else ROOT + path
        return client.generic(method, address, body if body is not None else b"", content_type=kind, headers=named)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def submit(self, **keys: Any) -> dict[str, Any]:
        """A job that was taken."""
        answer = self.post("jobs", {**SPEC, **keys})
        assert answer.status_code == 201, answer.content
        return dict(answer.json())


def person(name: str, *, is_staff: bool = False) -> Person:
    """A new user with a token."""
    user = get_user_model().objects.create_user(name, password="a long enough one", is_staff=is_staff)
    return Person(user, make_token(user)[1])


@pytest.fixture(autouse=True)
def _forgotten_rates() -> None:
    """Rate limits count by user id, which the next test may use again."""
    cache.clear()


@pytest.fixture
def alice(db: None) -> Person:
    return person("alice")


@pytest.fixture
def bob(db: None) -> Person:
    return person("bob")


@pytest.fixture
def staff(db: None) -> Person:
    return person("carol", is_staff=True)


@pytest.fixture
def stranger(db: None) -> Person:
    return Person(None, None)
