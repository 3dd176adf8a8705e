"""A receiver of webhooks: a real HTTP server in a thread, which answers as it is told and keeps what came."""

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

PATIENCE = 30.0  # for a busy machine


@dataclass(frozen=True)
class Received:
    """One request."""

    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        return str(json.loads(self.body)["type"])

    def verified(self, secret: str) -> Any:
        """The payload. Raises unless the signature is right."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = int | tuple[int, dict[str, str]] | Callable[[], int]
"""A status, with headers, or whatever gives one once it is to be answered."""


class Receiver:
    """Answers 200, or what stands next in `answers`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.received: list[Received] = []
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = receiver._take(Received({k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status() if callable(status) else status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # senders are killed on purpose
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks?key=7c1d"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def _take(self, request: Received) -> Answer:
        with self._news:
            self.received.append(request)
            self._news.notify_all()
            return self.answers.pop(0) if self.answers else 200

    def wait_for(self, count: int) -> list[Received]:
        """What came, once there are so many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.received) >= count, PATIENCE), self.received
            return list(self.received)

    @property
    def types(self) -> list[str]:
        return [request.type for request in self.received]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
