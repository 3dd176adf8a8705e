"""Checkpoints over HTTP: listed, described, and their bytes, whole and in part."""

import hashlib

import numpy as np
import pytest
from django.db import connection
from safetensors.numpy import load

from tests.service.api.conftest import Person
from tests.service.api.work import claim_next, store_checkpoint, tensors

CONTENT = tensors()


@pytest.fixture
def path(alice: Person) -> str:
    """Address of the bytes of a checkpoint of alice's job."""
    job = alice.submit()
    store_checkpoint(claim_next(), CONTENT)
    (row,) = alice.get(f"jobs/{job['id']}/checkpoints").json()["results"]
    assert row["job"] == job["id"]
    assert (row["step"], row["bytes"], row["kinds"]) == (10, len(CONTENT), ["best", "last"])
    assert row["metrics"] == {"validation_accuracy": 0.9}
    assert alice.get(row["url"]).json() == row
    return str(row["content_url"])


def test_the_bytes_are_those_that_were_stored_and_safetensors_reads_them(alice: Person, path: str) -> None:
    answer = alice.get(path)
    content = answer.getvalue()
    assert content == CONTENT
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["X-Checksum-SHA256"] == hashlib.sha256(content).hexdigest()
    assert np.array_equal(load(content)["layer1.weight"], load(CONTENT)["layer1.weight"])


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        ("bytes=1048570-1048590", 1048570, 1048591),
        (f"bytes=0-{10**12}", 0, len(CONTENT)),
        (f"bytes=-{10**12}", 0, len(CONTENT)),
    ],
)
def test_a_range_is_that_part_of_the_file(alice: Person, path: str, asked: str, start: int, stop: int) -> None:
    answer = alice.get(path, range=asked)
    assert answer.status_code == 206
    assert answer.getvalue() == CONTENT[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=9-3", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"])
def test_a_range_of_an_unknown_form_gives_the_whole_file(alice: Person, path: str, asked: str) -> None:
    answer = alice.get(path, range=asked)
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=-0"])
def test_a_range_beyond_the_end_is_416(alice: Person, path: str, asked: str) -> None:
    answer = alice.get(path, range=asked)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
    assert answer.json()["errors"][0]["header"] == "Range"


def test_an_interrupted_download_goes_on_only_with_the_same_file(alice: Person, path: str) -> None:
    etag = alice.get(path).headers["ETag"]
    assert alice.get(path, range="bytes=9-", if_range=etag).status_code == 206
    assert alice.get(path, range="bytes=9-", if_range='"another"').status_code == 200


def test_a_client_that_has_the_file_gets_304(alice: Person, path: str) -> None:
    etag = alice.get(path).headers["ETag"]
    assert alice.get(path, if_none_match=etag).status_code == 304


def test_head_tells_the_size_without_the_bytes(alice: Person, path: str) -> None:
    answer = alice.send("HEAD", path)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))


def test_any_accept_header_will_do(alice: Person, path: str) -> None:
    assert alice.get(path, accept="application/octet-stream").status_code == 200


def test_somebody_elses_checkpoint_is_as_unknown_as_none(alice: Person, bob: Person, staff: Person, path: str) -> None:
    for address in (path, path.removesuffix("/content"), "checkpoints/last", "checkpoints/last/content"):
        answer = bob.get(address)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert staff.get(path).status_code == 200


def test_a_damaged_checkpoint_is_said_to_be(alice: Person, path: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_checkpointchunk SET data = 'x' WHERE number = 0")
    answer = alice.get(path)
    assert answer.status_code == 500
    assert answer.json()["type"] == "/errors/checkpoint-corrupt"
    assert "damaged" in answer.json()["detail"]
    whole = alice.get(path, range=f"bytes={1 << 20}-")
    assert whole.getvalue() == CONTENT[1 << 20 :]
