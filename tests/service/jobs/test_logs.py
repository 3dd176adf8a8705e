"""What a trainer prints is kept in order, cut and bounded; a repeated write adds nothing."""

from typing import Any

import pytest

from service.jobs.lease import Lease
from service.jobs.logs import LINE_CHARACTERS, LINES_KEPT, clean, last_number, store_log
from service.jobs.models import Job
from service.jobs.presence import Identity
from service.jobs.queue import claim


@pytest.fixture
def lease(make_job: Any) -> Lease:
    make_job()
    found = claim(Identity.new("cpu-1", cores=2).capacity)
    assert found is not None
    return found[1]


def kept(lease: Lease) -> list[tuple[int, str]]:
    return list(Job.objects.get(pk=lease.job).log_lines.order_by("number").values_list("number", "text"))


def test_lines_are_kept_in_the_order_in_which_they_were_printed(lease: Lease) -> None:
    assert last_number(lease.job) == 0
    store_log(lease, 1, ["first", "second"])
    store_log(lease, 3, ["third"])
    assert kept(lease) == [(1, "first"), (2, "second"), (3, "third")]
    assert last_number(lease.job) == 3


def test_a_write_that_is_repeated_adds_nothing(lease: Lease) -> None:
    for _ in range(2):
        store_log(lease, 1, ["first", "second"])
    assert kept(lease) == [(1, "first"), (2, "second")]


def test_the_oldest_lines_make_room(lease: Lease) -> None:
    count = LINES_KEPT + 5
    store_log(lease, 1, [str(number) for number in range(1, count + 1)])
    numbers = [number for number, _ in kept(lease)]
    assert numbers == list(range(6, count + 1))


@pytest.mark.parametrize(
    ("printed", "stored"),
    [
        (b"plain\r\n", "plain"),
        (b"10 %\r50 %\r100 %\n", "100 %"),
        (b"nothing\0here", "nothinghere"),
        (b"\xff is no text", "\ufffd is no text"),
        (b"x" * (LINE_CHARACTERS + 1), "x" * LINE_CHARACTERS + " … (cut)"),
    ],
)
def test_a_line_becomes_text_that_can_be_read_and_stored(printed: bytes, stored: str) -> None:
    assert clean(printed) == stored
