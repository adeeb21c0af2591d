"""The application: which address answers what. `create_app` ties the parts of this folder together.

    app = create_app(service, "smollm2", ServerConfig())

Leaves out sockets and signals (`run.py`), and how anything is done.
"""

import asyncio
import time
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError

from trueformer.inference.server import errors
from trueformer.inference.server.answers import Answers
from trueformer.inference.server.asked import Asked, ask_chat, ask_completion
from trueformer.inference.server.errors import ApiError
from trueformer.inference.server.generation import Generation
from trueformer.inference.server.limits import Guard, ServerConfig, read_body
from trueformer.inference.server.metrics import Metrics
from trueformer.inference.server.page import content_security_policy, page
from trueformer.inference.server.schemas import Body, ChatBody, CompletionBody
from trueformer.inference.server.stream import EventStream, whole
from trueformer.inference.service import Service

AnyBody = TypeVar("AnyBody", bound=Body)


def create_app(service: Service, name: str, config: ServerConfig) -> FastAPI:
    """The server of one model, which is called `name`."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)  # docs would load scripts from elsewhere
    metrics = Metrics()
    app.add_middleware(Guard, config=config, metrics=metrics)
    errors.install(app)
    _add_questions(app, service, name, config, metrics)
    _add_models(app, service, name)

    @app.get("/")
    async def chat_page() -> Response:
        headers = {"Content-Security-Policy": content_security_policy(), "Cache-Control": "no-cache"}
        return HTMLResponse(page(), headers=headers)

    @app.get("/health")
    async def health() -> Response:
        if service.thread.failure is not None:
            raise ApiError(503, f"the engine has stopped: {service.thread.failure}; start the server anew")
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def counts() -> Response:
        return PlainTextResponse(metrics.text(service), media_type="text/plain; version=0.0.4")

    return app


def _add_questions(app: FastAPI, service: Service, name: str, config: ServerConfig, metrics: Metrics) -> None:
    async def answer(request: Request, kind: Literal["chat", "text"], body: Body, asked: Asked) -> Response:
        generation = Generation(service, asked, metrics)
        answers = Answers(kind, name, asked, service)
        if body.stream:
            return EventStream(generation, answers, config.timeout, usage=body.include_usage)
        return JSONResponse(await whole(request.receive, generation, answers, config.timeout))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await _read(request, ChatBody, name, config)
        return await answer(request, "chat", body, await asyncio.to_thread(ask_chat, service, body))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        body = await _read(request, CompletionBody, name, config)
        return await answer(request, "text", body, await asyncio.to_thread(ask_completion, service, body))


def _add_models(app: FastAPI, service: Service, name: str) -> None:
    model: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "trueformer",
        "context_length": service.context_length,
        "chat": service.chat is not None,
        "tools": [] if service.box is None else service.box.names,
    }

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{wanted:path}")
    async def one_model(wanted: str) -> Response:
        _check_name(wanted, name)
        return JSONResponse(model)


async def _read(request: Request, schema: type[AnyBody], name: str, config: ServerConfig) -> AnyBody:
    """The body, checked, for the model that is served.

    Raises:
        ApiError: it is none, or asks for another model.
    """
    raw = await read_body(request, config.max_body)
    try:
        body = await asyncio.to_thread(schema.model_validate_json, raw)
    except ValidationError as error:
        raise errors.from_validation(error) from error
    _check_name(body.model, name)
    return body


def _check_name(wanted: str, name: str) -> None:
    if wanted != name:
        raise ApiError(
            404, f"there is no model {wanted!r}: expected {name!r}", param="model", code="model_not_found"
        )
