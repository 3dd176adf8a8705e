"""Downloads survive servers that fail, break off, lie and stall, and never leave a wrong file under the right name."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from trainers.datasets.declaration import DownloadProgress, Remote
from trainers.datasets.download import ROUNDS, fetch_missing
from trainers.errors import DatasetUnavailable

CONTENT = bytes(i * i % 256 for i in range(3_000_000))


def remote(*urls: str, content: bytes = CONTENT) -> Remote:
    return Remote(urls, len(content), "sha256", hashlib.sha256(content).hexdigest())


def fetch(folder: Path, file: Remote, **options: Any) -> bytes:
    path = folder / file.name
    fetch_missing("Some set", folder, lambda: [] if path.exists() else [file], **options)
    return path.read_bytes()


def test_a_file_arrives_whole_and_alone(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))
    assert fetch(tmp_path / "set", remote(url)) == CONTENT
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["data.gz"]


def test_what_is_there_is_not_asked_for(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))
    (tmp_path / "data.gz").write_bytes(b"mine")
    assert fetch(tmp_path, remote(url)) == b"mine"
    assert server.requests == []


def test_progress_rises_to_the_whole(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))
    seen: list[DownloadProgress] = []
    fetch(tmp_path, remote(url), progress=seen.append)
    received = [progress.received for progress in seen]
    assert received == sorted(received)
    assert seen[-1] == DownloadProgress("data.gz", len(CONTENT), len(CONTENT), url)


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_a_mirror_that_fails_is_followed_by_the_next(server: Any, answer: Any, tmp_path: Path, status: int) -> None:
    bad, good = server.answer("/bad/data.gz", answer(b"no", status)), server.answer("/good/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote(bad, good)) == CONTENT


def test_a_mirror_that_cannot_be_reached_is_followed_by_the_next(server: Any, answer: Any, tmp_path: Path) -> None:
    good = server.answer("/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote("http://127.0.0.1:9/data.gz", good)) == CONTENT


def test_a_broken_off_transfer_goes_on_at_the_next_mirror_where_it_stopped(
    server: Any, answer: Any, tmp_path: Path
) -> None:
    broken = server.answer("/broken/data.gz", answer(CONTENT, stop_after=1_200_000))
    good = server.answer("/good/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote(broken, good)) == CONTENT
    assert server.requests == [("/broken/data.gz", None), ("/good/data.gz", "bytes=1200000-")]


def test_a_single_mirror_that_breaks_off_is_asked_for_the_rest(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT, stop_after=500_000), answer(CONTENT))
    assert fetch(tmp_path, remote(url)) == CONTENT
    assert server.requests[-1] == ("/data.gz", "bytes=500000-")


def test_an_interrupted_process_resumes_at_its_last_byte(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))

    def interrupt(progress: DownloadProgress) -> None:
        if progress.received > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, remote(url), progress=interrupt)
    have = (tmp_path / "data.gz.part").stat().st_size
    assert not (tmp_path / "data.gz").exists()
    assert fetch(tmp_path, remote(url)) == CONTENT
    assert server.requests[-1] == ("/data.gz", f"bytes={have}-")


def test_a_server_without_ranges_starts_anew(server: Any, answer: Any, tmp_path: Path) -> None:
    (tmp_path / "data.gz.part").write_bytes(CONTENT[:1000])
    url = server.answer("/data.gz", answer(CONTENT, ranges=False))
    assert fetch(tmp_path, remote(url)) == CONTENT


@pytest.mark.parametrize("rest", [b"rubbish" * 100, CONTENT[:-1] + b"!", CONTENT + b"too much"])
def test_a_wrong_part_of_an_earlier_transfer_does_no_harm(
    server: Any, answer: Any, tmp_path: Path, rest: bytes
) -> None:
    (tmp_path / "data.gz.part").write_bytes(rest)
    url = server.answer("/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote(url)) == CONTENT


def test_a_whole_part_needs_no_request(server: Any, answer: Any, tmp_path: Path) -> None:
    (tmp_path / "data.gz.part").write_bytes(CONTENT)
    url = server.answer("/data.gz", answer(b"", 500))
    assert fetch(tmp_path, remote(url)) == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("lie", [CONTENT[::-1], CONTENT + b"more", b"<html>blocked</html>", b""])
def test_a_lying_mirror_is_found_out_and_followed_by_the_next(
    server: Any, answer: Any, tmp_path: Path, lie: bytes
) -> None:
    liar, good = server.answer("/liar/data.gz", answer(lie)), server.answer("/good/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote(liar, good)) == CONTENT


def test_a_lie_cut_short_does_not_spoil_the_honest_mirror(server: Any, answer: Any, tmp_path: Path) -> None:
    liar = server.answer("/liar/data.gz", answer(CONTENT[::-1], stop_after=10_000))
    good = server.answer("/good/data.gz", answer(CONTENT))
    assert fetch(tmp_path, remote(liar, good)) == CONTENT


def test_when_all_fail_the_error_names_each_mirror_its_reason_and_the_remedy(
    server: Any, answer: Any, tmp_path: Path
) -> None:
    lost = server.answer("/lost/data.gz", answer(b"", 404))
    liar = server.answer("/liar/data.gz", answer(CONTENT[::-1]))
    with pytest.raises(DatasetUnavailable) as refused:
        fetch(tmp_path, remote(lost, liar))
    text = str(refused.value)
    assert f"{lost} (HTTP 404)" in text
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in text
    assert hashlib.sha256(CONTENT).hexdigest() in text
    assert f"place data.gz in {tmp_path}" in text
    assert len(server.requests) == 2 * ROUNDS
    assert list(tmp_path.iterdir()) == []


def test_a_compressing_server_is_told_not_to(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))
    fetch(tmp_path, remote(url))
    assert server.headers[-1]["Accept-Encoding"] == "identity"


def test_two_at_once_download_once(server: Any, answer: Any, tmp_path: Path) -> None:
    go = threading.Event()
    url = server.answer("/data.gz", answer(CONTENT, wait_for=go))
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(tmp_path / "set", remote(url)))) for _ in range(2)]
    threads[0].start()
    assert server.asked.wait(20)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(20)
    assert got == [CONTENT, CONTENT]
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_made_is_said_so(server: Any, answer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    url = server.answer("/data.gz", answer(CONTENT))
    with pytest.raises(DatasetUnavailable, match="ALTPROP_DATA_DIR"):
        fetch(tmp_path / "file" / "set", remote(url))


def test_each_file_is_announced_when_it_is_whole(server: Any, answer: Any, tmp_path: Path) -> None:
    url = server.answer("/data.gz", answer(CONTENT))
    arrived: list[tuple[str, int]] = []
    fetch(tmp_path, remote(url), arrive=lambda path: arrived.append((path.name, path.stat().st_size)))
    assert arrived == [("data.gz", len(CONTENT))]
