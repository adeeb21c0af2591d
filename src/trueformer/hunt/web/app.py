"""The application: which address answers what.

    app = create_app(Path("hunts"), key, Jobs())

Leaves out who may ask (`guard.py`) and sockets (`inference/server/run.py`).
"""

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from trueformer.hunt import sessions
from trueformer.hunt.bug import bug
from trueformer.hunt.web import checking, files, views
from trueformer.hunt.web.guard import Guard
from trueformer.hunt.web.jobs import Job, Jobs
from trueformer.hunt.web.page import content_security_policy, page
from trueformer.hunt.workspace import RUN_SECONDS, open_workspace, surroundings
from trueformer.inference.server import errors
from trueformer.inference.server.errors import ApiError

START_SECONDS = 900  # experiments are measured, here and in sound code
ADDRESSES = "/, or what its page asks for"
OURS = (sys.executable, "-P", "-m")


class Body(BaseModel):
    """What the page sends; nothing else."""

    model_config = ConfigDict(extra="forbid")


class Start(Body):
    """A case by its id, or drawn: `bugs` of a level."""

    case: str = ""
    level: Literal["easy", "medium", "hard", "brutal"] | None = None
    bugs: int = Field(1, ge=1, le=9)
    minutes: float | None = Field(None, gt=0, le=10_000)


class Save(Body):
    """A file's new text, for the version that was read."""

    path: str
    text: str
    version: str


class Run(Body):
    """The seed of an experiment."""

    seed: int = Field(1, ge=0, lt=2**31)


class Hint(Body):
    """The number of the hint that is meant, so that none is paid for twice."""

    number: int


class Reveal(Body):
    """Whether an unsolved hunt is given up."""

    give_up: bool = False


def create_app(folder: Path, key: str, jobs: Jobs) -> FastAPI:
    """The server of one person's hunts: new workspaces go to `folder`, and `key` is what the page's address holds."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, key=key)
    errors.install(app, ADDRESSES)
    _add_errors(app)
    _add_pages(app)
    _add_beginning(app, folder, jobs)
    _add_files(app)
    _add_runs(app, jobs)
    _add_checks(app, jobs)
    _add_help(app)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ValueError)
    async def mistake(request: Request, error: ValueError) -> Response:
        return ApiError(409 if isinstance(error, files.Changed) else 400, str(error)).response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return ApiError(400, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}").response


def _add_pages(app: FastAPI) -> None:
    def whole() -> Response:
        headers = {"Content-Security-Policy": content_security_policy(), "Cache-Control": "no-cache"}
        return HTMLResponse(page(), headers=headers)

    @app.get("/")
    def start_page() -> Response:
        return whole()

    @app.get("/hunts/{name}")
    def hunt_page(name: str) -> Response:
        return whole()

    @app.get("/hunts/{name}/figures/{figure}")
    def drawn(name: str, figure: str, reported: bool = False) -> Response:
        picture = views.figure(views.opened(name)[0], figure, reported=reported)
        return Response(picture, media_type="image/png", headers={"Cache-Control": "no-store"})


def _add_beginning(app: FastAPI, folder: Path, jobs: Jobs) -> None:
    places: list[Path] = []  # of the workspace that is made, or was made last

    @app.get("/api/overview")
    def overview() -> dict[str, Any]:
        return {**views.overview(), "folder": str(folder.resolve())}

    @app.post("/api/start")
    def start(body: Start) -> dict[str, Any]:
        place = _free(folder.resolve())
        which = ["--random", "--bugs", str(body.bugs)]
        which += ["--level", body.level] if body.level else []
        words = [bug(body.case).id] if body.case else which
        words += ["--minutes", f"{body.minutes:g}"] if body.minutes else []
        command = [*OURS, "trueformer", "hunt", "start", *words, "--out", str(place)]
        job = jobs.begin("", "start", lambda: Job(command, folder=Path("/"), seconds=START_SECONDS))
        places[:] = [place]
        return _state(job)

    @app.get("/api/start")
    def starting() -> dict[str, Any]:
        state = _state(jobs.get("", "start"))
        return {**state, "name": open_workspace(places[0])[1].name if state["code"] == 0 else None}

    @app.delete("/api/start")
    def stop() -> dict[str, Any]:
        return _stopped(jobs.get("", "start"))


def _free(folder: Path) -> Path:
    number = 1
    while (folder / f"hunt-{number}").exists():
        number += 1
    return folder / f"hunt-{number}"


def _add_files(app: FastAPI) -> None:
    @app.get("/api/hunts/{name}")
    def hunt(name: str) -> dict[str, Any]:
        return views.hunt(name)

    @app.get("/api/hunts/{name}/files")
    def listed(name: str) -> list[dict[str, str]]:
        folder, record = views.opened(name)
        return files.states(folder, views.before(record))

    @app.get("/api/hunts/{name}/file")
    def read(name: str, path: str) -> dict[str, str | None]:
        folder, record = views.opened(name)
        text, version = files.read(folder, path)
        return {"path": path, "text": text, "version": version, "before": views.before(record).get(path)}

    @app.put("/api/hunts/{name}/file")
    def save(name: str, body: Save) -> dict[str, str]:
        return {"version": files.save(views.opened(name)[0], body.path, body.text, body.version)}

    @app.get("/api/hunts/{name}/changes")
    def changes(name: str) -> dict[str, str]:
        folder, record = views.opened(name)
        return {"difference": files.difference(folder, views.before(record))}


def _add_runs(app: FastAPI, jobs: Jobs) -> None:
    @app.post("/api/hunts/{name}/run")
    def run(name: str, body: Run) -> dict[str, Any]:
        folder, _ = views.opened(name)

        def start() -> Job:
            return Job(
                [sys.executable, "-u", "run.py", str(body.seed)],
                folder=folder,
                seconds=RUN_SECONDS,
                environment=surroundings(),
                ending=signal.SIGTERM,
            )

        return _state(jobs.begin(name, "run", start))

    @app.get("/api/hunts/{name}/run")
    def running(name: str) -> dict[str, Any]:
        folder, _ = views.opened(name)
        state = _state(jobs.get(name, "run"))
        if state["code"] != 0:
            return state
        return {**state, "numbers": views.measured(folder), "figures": views.figures(folder)}

    @app.delete("/api/hunts/{name}/run")
    def stop_run(name: str) -> dict[str, Any]:
        return _stopped(jobs.get(name, "run"))


def _add_checks(app: FastAPI, jobs: Jobs) -> None:
    @app.post("/api/hunts/{name}/check")
    def check(name: str) -> dict[str, Any]:
        command = [*OURS, checking.__name__, str(views.opened(name)[0])]
        return _state(
            jobs.begin(name, "check", lambda: Job(command, folder=Path("/"), seconds=checking.SECONDS))
        )

    @app.get("/api/hunts/{name}/check")
    def checked(name: str) -> dict[str, Any]:
        state = _state(jobs.get(name, "check"))
        return {**state, "result": json.loads(state["text"].splitlines()[-1]) if state["code"] == 0 else None}

    @app.delete("/api/hunts/{name}/check")
    def stop_check(name: str) -> dict[str, Any]:
        return _stopped(jobs.get(name, "check"))


def _state(job: Job | None) -> dict[str, Any]:
    if job is None:
        return {"running": False, "code": None, "text": "", "reason": "", "seconds": 0}
    code = job.code  # before the rest: what it wrote last belongs to its end
    return {
        "running": code is None,
        "code": code,
        "text": job.text,
        "reason": job.reason,
        "seconds": job.seconds,
    }


def _stopped(job: Job | None) -> dict[str, Any]:
    if job is not None:
        job.stop()
    return _state(job)


def _add_help(app: FastAPI) -> None:
    one_at_a_time = threading.Lock()

    @app.post("/api/hunts/{name}/hint")
    def hint(name: str, body: Hint) -> dict[str, Any]:
        with one_at_a_time:
            folder, record = views.opened(name)
            if body.number != record.hints + 1:
                raise ApiError(409, f"{record.hints} hints are given: expected to be asked for the next")
            sessions.hint(folder)
        return views.hunt(name)

    @app.post("/api/hunts/{name}/reveal")
    def reveal(name: str, body: Reveal) -> list[dict[str, Any]]:
        with one_at_a_time:
            answers = sessions.reveal(views.opened(name)[0], give_up=body.give_up)
        return [
            {
                "case": answer.bug.id,
                "kind": f"{answer.bug.level} · {answer.bug.component}",
                "lesson": answer.bug.lesson.strip(),
                "difference": answer.difference,
                "laws": answer.laws,
                "source": answer.bug.source,
            }
            for answer in answers
        ]
