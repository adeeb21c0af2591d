"""The chat page as one response: markup, style and script are files beside this one.

Leaves out how they are put together and what the browser lets them do (`one_page.py`), and serving: the server sends
`page()` with `content_security_policy()` as the header `Content-Security-Policy`.
"""

import functools
from pathlib import Path

from trueformer.inference.server.one_page import OnePage

FOLDER = Path(__file__).parent
STYLES = ("base.css", "text.css", "page.css", "messages.css")
SCRIPTS = (
    "elements.js",
    "inline.js",
    "markdown.js",
    "theme.js",
    "stream.js",
    "conversation.js",
    "settings.js",
    "probabilities.js",
    "messages.js",
    "welcome.js",
    "chat.js",
)
PAGE = OnePage(
    markup=FOLDER / "index.html",
    styles=tuple(FOLDER / name for name in STYLES),
    scripts=tuple(FOLDER / name for name in SCRIPTS),
)


@functools.cache
def page() -> str:
    """The whole page, with no reference to anything outside it."""
    return PAGE.text


@functools.cache
def content_security_policy() -> str:
    """What the browser may do with the page; anything not named here is refused."""
    return PAGE.policy


def script() -> str:
    """All scripts in one scope that leaks no names; `window.trueformer` has what tests call."""
    return PAGE.script
