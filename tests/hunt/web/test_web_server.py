"""What the server of the hunt answers: to whom, which files, what work, and what it never tells."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from trueformer.hunt import record as records
from trueformer.hunt.bug import bug
from trueformer.hunt.record import Record
from trueformer.hunt.web.app import create_app
from trueformer.hunt.web.jobs import Jobs

CASE = "crowded-micro-steps"
HOME = "http://127.0.0.1:8001"
KEY = "a-key"
FILE = "trueformer/training/accumulate.py"
SLEEPS = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "hunt-1"


@pytest.fixture
def record(make, folder) -> Record:
    """A hunt under way."""
    return make(folder, CASE)


@pytest.fixture
def client(tmp_path):
    """Somebody who has opened the address with the key."""
    with Jobs() as jobs, TestClient(create_app(tmp_path, KEY, jobs), base_url=HOME) as client:
        assert client.get(f"/?key={KEY}").status_code == 200
        yield client


def said(answer: Any, status: int) -> str:
    """The message of an answer that has this status."""
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def wait(
    client: TestClient, path: str, until: Callable[[dict], bool] = lambda state: not state["running"]
) -> dict:
    """The first state of some work that is like that."""
    for _ in range(600):
        state = client.get(path).json()
        if until(state):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def test_nobody_without_the_key_is_answered(client, record):
    stranger = TestClient(client.app, base_url=HOME)
    assert stranger.get("/").status_code == 403
    assert "`trueformer hunt web` shows" in said(stranger.get(f"/api/hunts/{record.name}"), 403)
    assert stranger.get("/?key=another").status_code == 403
    assert stranger.post(f"/api/start?key={KEY}", json={}).status_code == 403, (
        "a key in an address only opens the page"
    )
    answer = client.get(f"/hunts/{record.name}?key={KEY}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/hunts/{record.name}")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_pages_of_others_are_refused(client, record):
    path = f"/api/hunts/{record.name}/hint"
    for origin in ("https://evil.example", "http://127.0.0.1:9000", "null"):
        assert "may not use this server" in said(
            client.post(path, json={"number": 1}, headers={"Origin": origin}), 403
        )
    assert "is not 'evil.example:8001'" in said(client.get("/", headers={"Host": "evil.example:8001"}), 403)
    assert client.post(path, json={"number": 1}, headers={"Origin": HOME}).status_code == 200


def test_answers_have_headers_that_keep_others_out(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "img-src 'self' data:" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    refused = client.get("/", headers={"Host": "evil.example"})
    assert refused.headers["content-security-policy"].startswith("default-src 'none'")


def test_bodies_are_limited(client, record):
    path = f"/api/hunts/{record.name}/file"
    assert "too long" in said(client.put(path, content=b"x" * (2**21 + 1)), 413)
    assert "Content-Length" in said(client.put(path, content=iter([b"x"])), 411)
    assert "version" in said(client.put(path, json={"path": FILE, "text": ""}), 400)
    assert "answer" in said(client.post("/api/start", json={"answer": 1}), 400)
    assert "there is no GET /api/nothing" in said(client.get("/api/nothing"), 404)


def test_only_the_workspaces_files_are_there(client, record, folder, tmp_path):
    (tmp_path / "secret.py").write_text("secret")
    (folder / "trueformer" / "link.py").symlink_to(tmp_path / "secret.py")
    (folder / "trueformer" / "away").symlink_to(tmp_path)
    (folder / "trueformer" / "picture.png").write_bytes(b"\x89PNG")
    (folder / "trueformer" / "bytes.py").write_bytes(b"\xff\xfe")
    (folder / "trueformer" / "long.py").write_text("#" * (2**20 + 1))
    path = f"/api/hunts/{record.name}/file"
    outside = (
        "../secret.py",
        str(tmp_path / "secret.py"),
        "trueformer/../../secret.py",
        "trueformer/link.py",
    )
    others = (
        "trueformer/away/secret.py",
        "trueformer/picture.png",
        ".hunt.json",
        ".git/config",
        "trueformer",
        "",
    )
    for name in (*outside, *others):
        assert "there is no file" in said(client.get(path, params={"path": name}), 400), name
        body = {"path": name, "text": "mine", "version": ""}
        assert "there is no file" in said(client.put(path, json=body), 400), name
    assert "is no text" in said(client.get(path, params={"path": "trueformer/bytes.py"}), 400)
    assert "at most" in said(client.get(path, params={"path": "trueformer/long.py"}), 400)
    assert (tmp_path / "secret.py").read_text() == "secret"
    listed = {row["path"] for row in client.get(f"{path}s").json()}
    assert not listed & {"trueformer/link.py", "trueformer/away/secret.py", "trueformer/picture.png"}
    for name in ("..%2f..%2fsecret.png", ".hidden.png", "secret.py"):
        assert client.get(f"/hunts/{record.name}/figures/{name}").status_code in (400, 404)


def test_saving_never_loses_what_others_have_written(client, record, folder):
    path = f"/api/hunts/{record.name}/file"
    read = client.get(path, params={"path": FILE}).json()
    assert read["text"] == read["before"] == (folder / FILE).read_text()
    (folder / FILE).write_text("from another editor\n")
    body = {"path": FILE, "text": "mine\n", "version": read["version"]}
    assert "was changed on disk" in said(client.put(path, json=body), 409)
    assert (folder / FILE).read_text() == "from another editor\n"
    body["version"] = client.get(path, params={"path": FILE}).json()["version"]
    (folder / FILE).chmod(0o600)
    saved = client.put(path, json=body).json()
    assert (folder / FILE).read_text() == "mine\n"
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert list(folder.rglob("*.new")) == []
    states = {row["path"]: row for row in client.get(f"/api/hunts/{record.name}/files").json()}
    assert (states[FILE]["state"], states[FILE]["version"]) == ("changed", saved["version"])


def test_what_is_changed_is_told_against_what_was_handed_out(client, record, folder):
    assert {row["state"] for row in client.get(f"/api/hunts/{record.name}/files").json()} == {""}
    (folder / "trueformer" / "mine.py").write_text("x = 1\n")
    (folder / "experiment" / "serve.py").unlink()
    (folder / "run.py").write_text("print(1)\n")
    rows = client.get(f"/api/hunts/{record.name}/files").json()
    states = {row["path"]: row["state"] for row in rows if row["state"]}
    assert states == {"trueformer/mine.py": "new", "experiment/serve.py": "gone", "run.py": "changed"}
    difference = client.get(f"/api/hunts/{record.name}/changes").json()["difference"]
    assert "+x = 1" in difference
    assert "+++ run.py" in difference
    (folder / FILE).unlink()
    assert "git checkout -- trueformer" in said(client.get(f"/api/hunts/{record.name}"), 400)


def told_of(client: TestClient, name: str) -> str:
    """Everything that the server says of a hunt."""
    paths = (
        f"/hunts/{name}",
        *(f"/api/hunts/{name}{rest}" for rest in ("", "/files", "/changes", "/run", "/check")),
    )
    rows = [row for row in client.get("/api/overview").json()["hunts"] if row["name"] == name]
    return "\n".join([*(client.get(path).text for path in paths), str(rows)])


def test_a_drawn_case_is_no_more_than_its_report_before_it_is_over(client, make, folder):
    record, planted = make(folder, CASE, shown=False), bug(CASE)
    before = told_of(client, record.name)
    assert planted.title in before
    hidden = (
        CASE,
        planted.component + '"',
        "· " + planted.component,
        planted.source,
        "micro-batches are added",
    )
    for text in (*hidden, *(hint[:40] for hint in planted.hints), *planted.laws):
        assert text not in before, text
    assert "not solved yet" in said(client.post(f"/api/hunts/{record.name}/reveal", json={}), 400)
    state = client.post(f"/api/hunts/{record.name}/hint", json={"number": 1}).json()
    assert (state["hints"], state["next_hint"], state["left"]) == ([[planted.hints[0]]], 1.5, 9.0)
    assert planted.hints[1] not in told_of(client, record.name)
    assert "1 hints are given" in said(client.post(f"/api/hunts/{record.name}/hint", json={"number": 1}), 409)
    [answer] = client.post(f"/api/hunts/{record.name}/reveal", json={"give_up": True}).json()
    assert answer["case"] == CASE
    assert planted.laws[0] in answer["laws"]
    assert CASE in told_of(client, record.name), "now it is known"


def test_hints_end_and_unknown_hunts_are_told_of(client, record):
    for number in range(1, 5):
        state = client.post(f"/api/hunts/{record.name}/hint", json={"number": number}).json()
    assert state["next_hint"] is None
    assert "all 4 hints" in said(client.post(f"/api/hunts/{record.name}/hint", json={"number": 5}), 400)
    assert "no record of this hunt" in said(client.get("/api/hunts/abc123"), 400)
    assert "no name of a hunt" in said(client.get("/api/hunts/a.b"), 400)


def test_a_run_is_streamed_one_at_a_time_and_stopped(client, record, folder):
    path = f"/api/hunts/{record.name}/run"
    assert client.get(path).json()["code"] is None
    (folder / "run.py").write_text(SLEEPS)
    client.post(path, json={"seed": 3})
    state = wait(client, path, lambda state: bool(state["text"].strip()))
    assert state["running"], "what it prints comes before it ends"
    assert "under way" in said(client.post(path, json={}), 400)
    assert client.delete(path).json()["reason"] == "stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(int(state["text"]), 0)


def test_a_run_has_its_numbers_beside_those_of_the_report(client, record, folder):
    path = f"/api/hunts/{record.name}/run"
    table = "| number | here | in the last version that was known to be good |\n|---|---|---|\n| loss | 3.5 | 2 |\n"
    (folder / "INCIDENT.md").write_text(table)
    (folder / "run.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        'Path(\'metrics.json\').write_text(\'{"1": {"loss": 2.5, "new": NaN}}\')\n'
        "Path('figures').mkdir()\nPath('figures/1-loss.png').write_bytes(b'\\x89PNG' + sys.argv[1].encode())\n"
    )
    client.post(path, json={"seed": 7})
    state = wait(client, path)
    assert state["numbers"] == [
        [{"number": "loss", "now": "2.5", "here": "3.5", "sound": "2"}, {"number": "new", "now": "nan"}]
    ]
    assert state["figures"] == ["1-loss.png"]
    picture = client.get(f"/hunts/{record.name}/figures/1-loss.png")
    assert (picture.content, picture.headers["content-type"]) == (b"\x89PNG7", "image/png")
    (folder / "run.py").write_text("print('a' * 10**6)\nraise SystemExit(3)\n")
    client.post(path, json={})
    state = wait(client, path)
    assert (state["code"], len(state["text"])) == (3, 200_000)
    assert "numbers" not in state


def test_what_ignores_being_stopped_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("trueformer.hunt.web.jobs.PATIENCE", 0.3)
    from trueformer.hunt.web.jobs import Job

    stubborn = ["bash", "-c", "trap '' INT TERM; echo ready; while true; do sleep 0.1; done"]
    job = Job(stubborn, folder=tmp_path, seconds=1)
    job.wait()
    assert job.reason == "ended: it took longer than 1 s"
    assert job.code == -9


def test_what_cannot_be_begun_is_said(client, tmp_path):
    assert "did you mean" in said(client.post("/api/start", json={"case": "crowded-micro-step"}), 400)
    assert "minutes" in said(client.post("/api/start", json={"minutes": -1}), 400)
    assert client.post("/api/start", json={"bugs": 9, "level": "brutal"}).status_code == 200
    state = wait(client, "/api/start")
    assert (state["code"], state["name"]) == (2, None)
    assert "--bugs is 9" in state["text"]
    assert list(tmp_path.glob("hunt-*")) == []


def test_a_workspace_that_is_made_can_be_stopped(client, tmp_path):
    client.post("/api/start", json={"case": CASE})
    while not list(tmp_path.glob(".hunt-*/*/run.py")):
        time.sleep(0.05)
    client.delete("/api/start")
    assert client.get("/api/start").json()["name"] is None
    assert [path.name for path in tmp_path.iterdir()] == []
    assert records.every() == []


def test_the_overview_has_cases_hunts_and_points(client, record):
    overview = client.get("/api/overview").json()
    assert {"case", "level", "component", "solved", "what is seen"} == set(overview["cases"][0])
    [mine] = overview["hunts"]
    assert (mine["case"], mine["name"], mine["there"], mine["over"]) == (CASE, record.name, True, False)
    record.repaired, record.solved_at = [CASE], record.started + 60
    record.save()
    overview = client.get("/api/overview").json()
    assert (overview["points"], overview["solved"]["easy"], overview["streak"]) == (10, 1, 1)
    assert next(row for row in overview["cases"] if row["case"] == CASE)["solved"] == "✓"
