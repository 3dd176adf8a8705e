"""Hand-made data: small tables, files in the published formats, and a web server that can misbehave."""

import gzip
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.datasets.declaration import ImageOptions, KnownFile, Loading, Task
from trainers.datasets.files import FileRecord, Fingerprint
from trainers.datasets.image_tables import Tables, load_tables
from trainers.datasets.indexed import LoadedSamples
from trainers.datasets.mnist import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the real files are left out where nobody has named a folder with the files."""
    if "ALTPROP_DATA_DIR" in os.environ:
        return
    here = Path(__file__).parent
    left_out = [item for item in items if here in item.path.parents and item.get_closest_marker("full_data")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def loading_into(folder: Path, *, seed: int = 0, download: bool = False) -> Loading:
    return Loading(seed, torch.device("cpu"), torch.float32, folder, download, None)


@pytest.fixture(scope="session")
def make_samples() -> Callable[..., LoadedSamples]:
    """Images (count, channels, side, side) of random bytes; sample k holds k in its first pixel."""

    def make(
        count: int = 40,
        *,
        seed: int = 0,
        channels: int = 1,
        side: int = 4,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> LoadedSamples:
        chance = np.random.default_rng(7)
        images = chance.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(count) % 256
        labels = chance.integers(0, 3, count)
        return load_tables(
            "made",
            Tables(images, labels, images[:5], labels[:5]),
            Task("classification", (channels, side, side), 3),
            ImageOptions(**{"validation_size": 3} | options),
            Fingerprint.of([FileRecord("made", "0" * 64, official=True)]),
            Loading(seed, torch.device("cpu"), dtype, Path(), False, None),
        )

    return make


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@dataclass
class IdxFolder:
    """A data directory with a small set in MNIST's layout, and the KnownFiles that describe it."""

    directory: Path
    images: dict[str, np.ndarray]
    files: tuple[KnownFile, ...]

    @property
    def folder(self) -> Path:
        return self.directory / "mnist"


@pytest.fixture
def idx_folder(tmp_path: Path) -> IdxFolder:
    chance = np.random.default_rng(3)
    arrays = {
        TRAIN_IMAGES: chance.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        TRAIN_LABELS: chance.integers(0, 10, 30, dtype=np.uint8),
        TEST_IMAGES: chance.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        TEST_LABELS: chance.integers(0, 10, 10, dtype=np.uint8),
    }
    folder = tmp_path / "mnist"
    folder.mkdir()
    files = []
    for name, array in arrays.items():
        content = idx_bytes(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        files.append(KnownFile(name, len(content), "sha256", hashlib.sha256(content).hexdigest()))
    return IdxFolder(tmp_path, arrays, tuple(files))


@dataclass
class Answer:
    """How the server answers for one path."""

    content: bytes
    status: int = 200
    ranges: bool = True  # honours Range
    stop_after: int | None = None  # closes the connection after so many bytes of the body, however long it announced
    wait_for: threading.Event | None = None  # before the body is sent


@dataclass
class WebServer:
    """http.server on a free port; `answers` says what each path sends, `requests` what was asked."""

    url: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, *answers: Answer) -> str:
        """The last answer is repeated. Returns the file's address."""
        self.answers[path] = list(answers)
        return self.url + path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            span = self.headers.get("Range")
            web.requests.append((self.path, span))
            web.headers.append(self.headers)
            web.asked.set()
            answers = web.answers.get(self.path, [Answer(b"", 404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            first = int(span.removeprefix("bytes=").rstrip("-")) if span and answer.ranges else 0
            body = answer.content[first:]
            self.send_response(206 if first and answer.status == 200 else answer.status)
            self.send_header("Content-Length", str(len(body)))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(answer.content) - 1}/{len(answer.content)}")
            self.end_headers()
            if answer.wait_for is not None:
                answer.wait_for.wait(20)
            self.wfile.write(body if answer.stop_after is None else body[: answer.stop_after])
            if answer.stop_after is not None:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        web = WebServer(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web
        http.shutdown()
        thread.join()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture(scope="session")
def make_loading() -> Callable[..., Loading]:
    return loading_into


@pytest.fixture(scope="session")
def as_idx() -> Callable[[np.ndarray], bytes]:
    return idx_bytes
