"""A real HTTP server for the client to talk to, from a handler that answers as the API does."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client import Client


class Answering(BaseHTTPRequestHandler):
    """Give it `do_GET` and `do_POST`, which end in `answer` or `content`."""

    def body(self) -> Any:
        """The JSON that was sent; None for none."""
        length = int(self.headers["Content-Length"] or 0)
        return json.loads(self.rfile.read(length)) if length else None

    def url(self, path: str) -> str:
        return f"http://{self.headers['Host']}/api/v1/{path}"

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.content(status, json.dumps(body).encode(), "application/json")

    def content(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        """Close the connection without a word, as a service does that is killed."""
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def client_of(handler: type[Answering]) -> Iterator[Client]:
    """A client of a server that answers so."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}/", "secret") as client:
            yield client
        server.shutdown()
