"""What goes wrong, as OpenAI's clients read it: {"error": {"message", "type", "param", "code"}} and a status.

Leaves out what is wrong when: whoever notices raises `ApiError`.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

CLIENT_IS_GONE = 499  # nginx's number; nobody is there to read it
LONGEST_MESSAGE = 1000  # characters: what was wrong may be quoted, and is as long as its sender likes
ADDRESSES = "/v1/chat/completions, /v1/completions, /v1/models, /health or /metrics"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 504: "timeout_error"}


class ApiError(Exception):
    """An answer other than success. `param`: the field that is wrong; `code`: a name for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers
        self.message = message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"

    @property
    def body(self) -> dict[str, Any]:
        """What is sent, as JSON or as an event of a stream."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, status_code=self.status, headers=self.headers)


def from_validation(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, by its place.

    Example: "max_tokens: Input should be a valid integer (it is 'many')".
    """
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    found = (
        ""
        if first["type"] in ("missing", "json_invalid", "value_error")
        else f" (it is {first['input']!r:.80})"
    )
    said = first["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{place}: {said}{found}" if place else said, param=place or None)


def install(app: FastAPI, addresses: str = ADDRESSES) -> None:
    """Have the application, which answers at these addresses, answer every error in this shape."""

    @app.exception_handler(ApiError)
    async def told(request: Request, error: ApiError) -> Response:
        return error.response

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_IS_GONE)

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        """No such address, or not asked in that way."""
        at = f"{request.method} {request.url.path}"
        allowed = (error.headers or {}).get("Allow", "another method")
        messages = {
            404: f"there is no {at}: expected {addresses}",
            405: f"{at} is not how that is asked: expected {allowed}",
        }
        message = messages.get(error.status_code, error.detail)
        return ApiError(error.status_code, message, headers=error.headers).response

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        # The traceback goes to the terminal; what it says of the machine is not for the client.
        return ApiError(500, "the server failed: its terminal says why").response
