"""Who may use the server: whoever has the key that the terminal showed, from the server's own page.

A hunter's code is edited and run here, so nobody else on the machine may ask, either. The address with the key is opened
once; a cookie has it from then on. Leaves out what is answered (`app.py`).
"""

import hmac

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trueformer.inference.server.errors import ApiError
from trueformer.inference.server.own_page import put_headers, refuse_strangers

MOST_BODY = 2**21  # bytes
NO_KEY = (
    "this page is for whoever started it: open the address that `trueformer hunt web` shows, with its key"
)


class Guard:
    """ASGI middleware: refuses strangers, trades the key of an address for a cookie, and puts headers on answers."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                put_headers(message)
            await send(message)

        answer = self._answer(Request(scope)) or self._app
        await answer(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        """What is said in the place of the application, if anything."""
        try:
            refuse_strangers(request.headers, loopback=True)
            _refuse_long(request.headers)
        except ApiError as error:
            return error.response
        cookie = f"trueformer-hunt-{(request.scope.get('server') or ('', 0))[1]}"  # browsers mix those of all ports
        if self._is_key(request.query_params.get("key", "")) and request.method == "GET":
            answer = RedirectResponse("/" + request.url.path.lstrip("/"), 303)
            answer.set_cookie(cookie, self._key, httponly=True, samesite="lax")
            return answer
        if self._is_key(request.cookies.get(cookie, "")):
            return None
        if request.url.path.startswith("/api/"):
            return ApiError(403, NO_KEY).response
        return PlainTextResponse(f"{NO_KEY}\n", 403)

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._key.encode())


def _refuse_long(headers: Headers) -> None:
    if "transfer-encoding" in headers:
        raise ApiError(411, "the body has no length: expected the header Content-Length")
    if int(headers.get("content-length", 0)) > MOST_BODY:
        raise ApiError(
            413, f"the body is too long: expected at most {MOST_BODY} bytes", headers={"Connection": "close"}
        )
