"""Debian's Chromium, without a window, and what a page did in it.

While a browser is open the test's thread may not use Django's database (Playwright keeps an event loop in it): rows
are made before.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDE, PHONE = 1280, 400


def path_of_chromium() -> str | None:
    """ALTPROP_CHROMIUM, or where the system has one; None without."""
    return os.environ.get("ALTPROP_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without a sandbox: it needs rights that containers and root do not have.
        browser = playwright.chromium.launch(executable_path=path_of_chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, what went wrong in it, and the hosts that it asked for something."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def open_page(browser: Browser, url: str, *, width: int = WIDE, dark: bool = False, cookies: Any = ()) -> Watched:
    """The page once it is quiet."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    context.add_cookies(list(cookies))
    watched = Watched(context.new_page())
    watched.page.on("console", lambda said: watched.troubles.append(said.text) if said.type == "error" else None)
    watched.page.on("pageerror", lambda error: watched.troubles.append(str(error)))
    watched.page.on("request", lambda asked: watched.hosts.add(urlsplit(asked.url).netloc))
    watched.page.goto(url, wait_until="networkidle")
    return watched
