"""The chat page as one response: markup, style and script are files beside this one, put together here.

The browser runs and applies only what these files hold: the policy names their hashes, lets the page speak to
its own server and to nobody else, and forbids turning text into markup (`require-trusted-types-for`), so what
a model says stays text even where the script is wrong. Leaves out serving: the server sends `page()` with
`content_security_policy()` as the header `Content-Security-Policy`.
"""

import base64
import functools
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent
STYLES = ("page.css", "messages.css")
SCRIPTS = (  # in this order: each uses the ones before it
    "elements.js",
    "inline.js",
    "markdown.js",
    "stream.js",
    "conversation.js",
    "settings.js",
    "probabilities.js",
    "messages.js",
    "welcome.js",
    "chat.js",
)


@functools.cache
def page() -> str:
    """The whole page, with no reference to anything outside it."""
    markup = _read("index.html")
    for mark, filling in (("/* STYLE */", style()), ("/* SCRIPT */", script())):
        assert markup.count(mark) == 1
        # Either would end the element it is put into, or change how the rest is read.
        assert not any(end in filling for end in ("</script", "</style", "<!--"))
        markup = markup.replace(mark, filling)
    return markup


@functools.cache
def content_security_policy() -> str:
    """What the browser may do with the page; anything not named here is refused."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script())}'",
            f"style-src '{_hash(style())}'",
            "connect-src 'self'",
            "img-src data:",  # the icon in the tab
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


@functools.cache
def style() -> str:
    """All style sheets as one."""
    return "\n".join(_read(name) for name in STYLES)


@functools.cache
def script() -> str:
    """All scripts in one scope that leaks no names; `window.trueformer` has what tests call."""
    return "\n".join(("(() => {", '"use strict";', *(_read(name) for name in SCRIPTS), "})();"))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
