"""The report of really trained runs in a browser: quiet, readable on a phone, printable, told in words."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from playwright.sync_api import Browser

from service.api.experiment_reports import CLOSED
from service.comparison.plots import draw_all, plot_names
from service.comparison.report import report_html
from service.comparison.runs import Experiment
from service.comparison.scorecard import score
from tests.browser.chromium import PHONE, WIDE, chromium, open_page
from tests.browser.pdf import Pdf
from tests.browser.real_runs import ARMS, trained_experiment

NAME = "Who learns digits?"

pytestmark = pytest.mark.xdist_group("browser")

LEAST_FONT = 10.0
"""Pixels. Smaller text on a screen is not read."""


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return trained_experiment(NAME)


@pytest.fixture(scope="module")
def address(experiment: Experiment) -> Iterator[str]:
    """The report behind the very Content-Security-Policy that the API sends with it."""
    page = report_html(experiment, score(experiment), draw_all(experiment)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/report" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", CLOSED)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_it_opens_without_a_complaint_and_fits_the_window(
    browser: Browser, address: str, width: int, dark: bool
) -> None:
    watched = open_page(browser, address, width=width, dark=dark)
    assert watched.troubles == []
    assert watched.hosts <= {address.split("/")[2], ""}, "nothing is fetched from elsewhere"
    assert watched.page.title() == NAME
    assert watched.overflow <= 0
    assert watched.page.evaluate("document.body.scrollWidth - document.body.clientWidth") <= 0
    sizes = watched.page.evaluate(
        "[...document.querySelectorAll('p, li, td, th, h1, h2, h3, summary, span, a')]"
        ".filter(e => e.innerText && e.innerText.trim()).map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= LEAST_FONT


def test_on_a_desk_the_whole_scorecard_is_seen_at_once(browser: Browser, address: str) -> None:
    page = open_page(browser, address).page
    assert page.locator(".card").locator("..").evaluate("frame => frame.scrollWidth - frame.clientWidth") <= 0


def test_every_figure_is_drawn_and_told_in_words(browser: Browser, address: str, experiment: Experiment) -> None:
    page = open_page(browser, address).page
    images = page.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    assert len(images) == len(plot_names(experiment))
    for is_complete, width, alt in images:
        assert is_complete
        assert width > 100
        assert len(alt) > 80
    assert {
        "learning-curves-flops",
        "signal-by-depth",
        "angle-to-backprop",
        "performance-profile",
        "pareto",
        "seeds",
    } <= set(plot_names(experiment))


def test_it_is_reached_and_read_without_a_mouse(browser: Browser, address: str) -> None:
    """Wide tables scroll with the keyboard; every part has its heading, and headings leave out no level."""
    page = open_page(browser, address, width=PHONE).page
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    stuck = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex !== 0 || !e.ariaLabel).length"
    )
    assert stuck == 0


def test_it_prints(browser: Browser, address: str) -> None:
    page = open_page(browser, address).page
    printed = Pdf(page.pdf(prefer_css_page_size=True))
    assert printed.pages >= 3
    text = "".join(printed.text.split())
    for words in (NAME, "Scorecard: each arm against backprop", "Verdicts in words", "Provenance", *ARMS):
        assert words.replace(" ", "") in text, words
    assert "rawjobs" not in text, "what unfolds on a screen is left out on paper"
