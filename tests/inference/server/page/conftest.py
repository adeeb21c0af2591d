"""A real Chromium for the page, and a tab that reports whatever it tells anybody but its server."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

expect.set_options(timeout=15_000)  # a small machine that tests in parallel


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium here: install it (Debian: apt install chromium) to test the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server_url: str) -> Iterator[Page]:
    """The page in a fresh profile; at the end, nothing was asked of another host, and no script failed."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    elsewhere: list[str] = []
    context.on("request", lambda request: elsewhere.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: elsewhere.append(str(error)))
    page.on("dialog", lambda dialog: elsewhere.append(dialog.message))
    page.goto(server_url)
    yield page
    context.close()
    assert [url for url in elsewhere if not url.startswith((server_url, "data:"))] == []
