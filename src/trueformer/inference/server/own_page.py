"""Whom a server on this machine answers: its own page, under this machine's own names; and with which headers.

Web pages of others must not use a server through the browser of whoever looks at them: a request that names another
origin is refused, and so is one that came to this machine under a stranger's name (DNS rebinding). Leaves out keys.
"""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message

from trueformer.inference.server.errors import ApiError

LOCAL_NAMES = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # the page brings its own
}


def refuse_strangers(headers: Headers, *, loopback: bool, otherwise: str = "") -> None:
    """Looks at who asks; `otherwise` is what else would have done, for the message.

    Raises:
        ApiError: 403, the name of another machine (where bound to `loopback`), or a page of another origin.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if loopback and not LOCAL_NAMES.fullmatch(host):
        raise ApiError(403, f"this machine is not {host!r}: expected localhost{otherwise}")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ApiError(403, f"pages of {origin} may not use this server: expected its own{otherwise}")


def put_headers(message: Message) -> None:
    """Puts `HEADERS` on the start of an answer, but for those that it has."""
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
