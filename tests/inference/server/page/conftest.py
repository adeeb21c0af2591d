"""A tab that reports whatever it tells anybody but its server."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=15_000)  # a small machine that tests in parallel


@contextmanager
def open_page(browser: Browser, url: str) -> Iterator[Page]:
    """The page in a fresh profile; at the end, nothing was asked of another host, and no script failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    seen: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("dialog", lambda dialog: seen.append(dialog.message))
    page.goto(url)
    yield page
    context.close()
    assert [what for what in seen if not what.startswith((url, "data:"))] == []


@pytest.fixture
def page(browser: Browser, server_url: str) -> Iterator[Page]:
    """The page as somebody opens it for the first time."""
    with open_page(browser, server_url) as page:
        yield page


@pytest.fixture(scope="session")
def shared_page(browser: Browser, server_url: str) -> Iterator[Page]:
    """The page for what leaves no trace in it."""
    with open_page(browser, server_url) as page:
        yield page
