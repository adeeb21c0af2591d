"""The page of the hunt as one response: files beside this one, and what the chat page has for every page of ours."""

import functools
from pathlib import Path

from trueformer.inference.server.one_page import OnePage
from trueformer.inference.server.page import FOLDER as SHARED

FOLDER = Path(__file__).parent
PAGE = OnePage(
    markup=FOLDER / "index.html",
    styles=(
        SHARED / "base.css",
        SHARED / "text.css",
        FOLDER / "hunt.css",
        FOLDER / "editor.css",
    ),
    scripts=(
        *(SHARED / name for name in ("elements.js", "inline.js", "markdown.js", "theme.js")),
        *(
            FOLDER / name
            for name in (
                "asking.js",
                "python.js",
                "editor.js",
                "report.js",
                "files.js",
                "work.js",
                "help.js",
                "cases.js",
                "main.js",
            )
        ),
    ),
    images="'self' data:",
)


@functools.cache
def page() -> str:
    """The whole page, with no reference to anything outside it."""
    return PAGE.text


@functools.cache
def content_security_policy() -> str:
    """What the browser may do with the page; anything not named here is refused."""
    return PAGE.policy
