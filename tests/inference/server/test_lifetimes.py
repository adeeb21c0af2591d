"""Requests end when their client goes, when time is up, and when the server stops; slots come back."""

import asyncio
import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection

import httpx
import openai
import pytest
from starlette.requests import ClientDisconnect

from trueformer.inference.server.stream import while_connected

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
LONG = {"model": "tiny", "prompt": "What", "max_tokens": 4000, "temperature": 0}


def eventually(true, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def post_raw(url: str, body: dict) -> socket.socket:
    """Sends a request and leaves the rest to the caller."""
    request = httpx.Request("POST", url + TEXT, json=body)
    host, port = request.url.host, request.url.port
    head = f"POST {TEXT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(request.content)}\r\n\r\n"
    raw = socket.create_connection((host, port), timeout=10)
    raw.sendall(head.encode() + request.content)
    return raw


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(server, stream):
    before = server.metrics()["trueformer_cancelled_total"]
    raw = post_raw(server.url, {**LONG, "stream": stream})
    assert eventually(lambda: server.metrics()["trueformer_running"] == 1)
    raw.close()
    left = time.monotonic()
    assert eventually(lambda: server.service.engine.n_running == 0, seconds=1.0)
    assert time.monotonic() - left < 0.5, "4000 tokens would have taken seconds"
    assert eventually(lambda: server.metrics()["trueformer_cancelled_total"] == before + 1)


def test_a_connection_outlives_the_pause_after_which_clients_close_it(server):
    """Else a request that comes just then is lost: official clients keep idle connections for 5 seconds."""
    url = httpx.URL(server.url)
    with closing(HTTPConnection(url.host, url.port, timeout=10)) as connection:
        for pause in (5.5, 0):
            connection.request("GET", "/health")
            assert b"ok" in connection.getresponse().read()
            time.sleep(pause)


def test_a_client_that_goes_away_while_it_waits_leaves_the_queue(serve):
    with serve(n_slots=1) as server:
        first, second = post_raw(server.url, LONG), post_raw(server.url, LONG)
        assert eventually(lambda: server.metrics()["trueformer_waiting"] == 1)
        second.close()
        assert eventually(lambda: server.metrics()["trueformer_waiting"] == 0)
        assert server.service.engine.n_running == 1
        first.close()
        assert eventually(lambda: server.service.engine.idle)


def test_a_client_that_goes_away_from_several_choices_frees_all_their_slots(server):
    with httpx.stream("POST", server.url + TEXT, json={**LONG, "n": 3, "stream": True}) as answer:
        next(answer.iter_lines())
        assert eventually(lambda: server.service.engine.n_running == 3), (
            server.service.engine._running,
            server.service.engine._queue,
            server.metrics(),
        )
    assert eventually(lambda: server.service.engine.idle, seconds=1.0)


def test_a_stop_string_frees_the_slot_too(server):
    stop = server.client.completions.create(**LONG | {"max_tokens": 12}).choices[0].text[4:6]
    answer = server.client.completions.create(**LONG, stop=stop)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens < 20
    assert eventually(lambda: server.service.engine.idle, seconds=1.0)


def test_an_answer_that_takes_too_long_is_given_up(serve):
    with serve(timeout=0.3) as server:
        whole = httpx.post(server.url + TEXT, json=LONG)
        assert whole.status_code == 504
        assert "ask for fewer tokens" in whole.json()["error"]["message"]
        assert whole.json()["error"]["type"] == "timeout_error"
        stream = server.client.completions.create(**LONG, stream=True)
        with pytest.raises(openai.APIError, match="took longer than"):
            assert len(list(stream)) > 1
        assert eventually(lambda: server.service.engine.idle, seconds=1.0)


def test_more_than_may_wait_are_told_to_come_again(serve):
    with serve(n_slots=1, max_queue=1) as server:
        waiting = [post_raw(server.url, LONG) for _ in range(2)]
        assert eventually(lambda: server.service.thread.n_waiting == 1)
        with pytest.raises(openai.RateLimitError, match="try again later") as refused:
            server.client.completions.create(**LONG)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        for raw in waiting:
            raw.close()
        assert eventually(lambda: server.service.engine.idle)
        # Of several choices none is left behind where not all find room.
        before = server.metrics()["trueformer_cancelled_total"]
        with pytest.raises(openai.RateLimitError):
            server.client.completions.create(**LONG, n=5)
        assert eventually(lambda: server.service.engine.idle, seconds=1.0)
        assert server.metrics()["trueformer_cancelled_total"] == before, "what was refused never began"
        assert server.client.completions.create(**LONG | {"max_tokens": 1}).usage.completion_tokens == 1


def test_an_engine_that_failed_says_so_to_all_who_ask(serve, capfd):
    with serve() as server:
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        server.service.engine.model = None  # the next step cannot be made
        for _ in range(2):  # the one under way, and the one after
            with pytest.raises(openai.InternalServerError, match="the engine has stopped"):
                server.client.completions.create(**LONG)
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()["error"]["type"]) == (503, "server_error")
        assert "the engine has stopped: AttributeError" in health.json()["error"]["message"]
    assert "Traceback" in capfd.readouterr().err


def test_nobody_waits_longer_for_work_than_the_client_does(run_async):
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def leave() -> dict:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        run_async(while_connected(leave, work()))
    assert ended


def test_a_server_that_stops_finishes_what_it_began(serve):
    said = []
    with serve() as server:
        expected = server.client.completions.create(**LONG | {"max_tokens": 100}).choices[0].text

        def read() -> None:
            for chunk in server.client.completions.create(**LONG | {"max_tokens": 100}, stream=True):
                said.append(chunk.choices[0].text)

        reader = threading.Thread(target=read)
        reader.start()
        assert eventually(lambda: len(said) > 3)
        assert len(said) < 80
    reader.join(10)
    assert "".join(said) == expected
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_a_server_that_has_waited_long_enough_ends_what_is_left_with_an_error(serve):
    with serve(grace=0.2) as server:
        stream = iter(server.client.completions.create(**LONG, stream=True))
        next(stream)
    with pytest.raises(openai.APIError, match="the server is stopping"):
        list(stream)
