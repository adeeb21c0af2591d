"""`trueformer serve` as a process: what it prints, how it stops, and what it says where it cannot begin."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from trueformer.cli import main
from trueformer.commands.serve import KEY_VARIABLE, Serve
from trueformer.config import to_dict
from trueformer.training.checkpoints import save_checkpoint

KEY = "s3cret"


@pytest.fixture(scope="module")
def run_folder(endless, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model as a run that was trained."""
    folder = tmp_path_factory.mktemp("runs") / "my.model"
    save_checkpoint(
        folder / "checkpoints" / "step-00000001",
        model_tensors={name: p.detach() for name, p in endless.model.named_parameters()},
        optimizer_tensors={},
        state={"step": 1},
        config={"model": to_dict(endless.config)},
        tokenizer=endless.tokenizer,
    )
    return folder


@pytest.fixture
def start(run_folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts the command; gives the process and its address."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "trueformer", "serve", str(run_folder), "--port", "0", *options]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.communicate()[1]
        return process, found[0]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_it_greets_with_a_command_that_works_warns_where_it_must_and_stops_when_told(start):
    process, url = start("--host", "0.0.0.0")
    curl = process.stdout.readline().strip()
    assert curl.startswith(f"curl {url}/v1/chat/completions -d '")
    body = curl.split("-d '")[1].rstrip("'")
    answer = httpx.post(f"{url}/v1/chat/completions", content=body, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["model"] == "my.model"
    assert httpx.get(url).text.startswith("<!doctype html>")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines() == [
        "trueformer: anyone who reaches this machine can use the model: set an API key"
    ]


def test_sigterm_lets_a_stream_finish_and_takes_nobody_new(start):
    process, url = start(**{KEY_VARIABLE: KEY})
    assert "Authorization: Bearer KEY" in process.stdout.readline()
    assert httpx.get(f"{url}/v1/models").status_code == 401
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    wishes = {"model": "my.model", "prompt": "What", "max_tokens": 600, "temperature": 0}
    stream = client.completions.create(**wishes, stream=True)
    next(iter(stream))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    assert process.poll() is None, "it waits for the stream"
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert len(chunks) > 100
    client.close()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_the_key_is_that_of_the_file_or_else_of_the_environment(tmp_path, monkeypatch):
    (tmp_path / "key.txt").write_text(f"{KEY}\n")
    monkeypatch.setenv(KEY_VARIABLE, "another")
    assert Serve(model="m", api_key_file=tmp_path / "key.txt").key() == KEY
    assert Serve(model="m").key() == "another"
    for unset in ("", None):
        monkeypatch.setenv(KEY_VARIABLE, unset) if unset is not None else monkeypatch.delenv(KEY_VARIABLE)
        assert Serve(model="m").key() is None


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that a mistake gives."""
    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    return said[0]


def test_what_cannot_be_served_is_said_in_one_line(run_folder, capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use" in refused(capsys, str(run_folder), "--port", port)
    assert "cannot serve at 192.0.2.1" in refused(
        capsys, str(run_folder), "--host", "192.0.2.1", "--port", "0"
    )
    assert "port is 70000: expected 1 to 65535" in refused(capsys, str(run_folder), "--port", "70000")
    assert "there is no nothing" in refused(capsys, "nothing", "--port", "0")
    (tmp_path / "key").write_text(" \n")
    assert "is empty" in refused(
        capsys, str(run_folder), "--port", "0", "--api-key-file", str(tmp_path / "key")
    )
    assert "timeout is -1" in refused(capsys, str(run_folder), "--port", "0", "--timeout", "-1")


def test_help_and_the_package_load_no_server():
    code = (
        "import sys, trueformer.cli\n"
        "sys.argv = ['trueformer', 'serve', '--help']\n"
        "try:\n    trueformer.cli.main()\n"
        "finally:\n    assert not {'fastapi', 'uvicorn', 'pydantic', 'torch'} & set(sys.modules)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert "trueformer serve smollm2" in done.stdout
