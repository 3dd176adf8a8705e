"""What the API answers to a bad request."""

from typing import Any


class Problem(Exception):
    """The API's answer to a bad request: RFC 9457 problem+json, its sentence as text."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status, self.body = status, body
        self.errors: list[dict[str, Any]] = body.get("errors", [])
        super().__init__(body.get("detail") or body.get("title") or f"HTTP {status}")
