"""Whatever is sent, the answer is a status that says whose fault it is, and words that say what to send."""

import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SAID = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
PROMPTED = {"model": "tiny", "prompt": "What", "max_tokens": 2}


def refused(response: httpx.Response, status: int = 400) -> str:
    """The message of an error in OpenAI's shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else error["type"])
    return error["message"]


def one(content: object, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content, **more}]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"messages": []}, "expected a list of at least one message"),
        ({"messages": "Hello"}, "expected a list of at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role is 'robot': expected one of"),
        ({"messages": [{"content": "x"}]}, "messages[0].role is missing"),
        (one(""), "a message of the user is empty"),
        (one(None), "a message of the user is empty"),
        (one(7), "messages[0].content is 7: expected a string"),
        (
            one([{"type": "image_url", "image_url": {"url": "data:"}}]),
            "images, audio and files cannot be read",
        ),
        (one([{"type": "tool_call", "name": "calculator", "input": "1"}]), "the user cannot use a tool"),
        ({"messages": [*SAID["messages"], {"role": "assistant", "content": "Hi"}]}, "expected the user's"),
        ({"messages": [{"role": "system", "content": "Be brief"}]}, "expected the user's"),
        ({"temperature": -0.1}, "temperature is -0.1: expected 0"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number (it is 'hot')"),
        ({"temperature": True}, "temperature: Input should be a valid number"),
        ({"top_p": 0}, "top_p is 0.0: expected above 0"),
        ({"top_p": 1.01}, "expected above 0 and at most 1"),
        ({"top_k": 0}, "top_k is 0: expected at least 1"),
        ({"min_p": 2}, "min_p is 2.0: expected 0"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0.0: expected above 0"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": 2**63}, "seed: Input should be less than"),
        ({"seed": 1.5}, "seed: Input should be a valid integer"),
        ({"n": 0}, "n: Input should be greater than or equal to 1"),
        ({"n": 10**6}, "n: Input should be less than or equal to 128"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": -5}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 8192}, "send a smaller max_tokens or a shorter prompt"),
        ({"max_completion_tokens": 10**30}, "send a smaller max_tokens or a shorter prompt"),
        (one("x " * 9000), "the prompt has"),
        ({"stop": ""}, "stop has a string that is empty"),
        ({"stop": ["a"] * 5}, "stop has 5 strings: expected at most 4"),
        ({"stop": "a" * 257}, "expected 1 to 256 characters"),
        ({"stop": 3}, "stop"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"stream_options": {"include_usage": True}}, "send stream: true as well"),
        ({"logprobs": 3}, "logprobs: Input should be a valid boolean"),
        ({"top_logprobs": 3}, "send logprobs: true as well"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: Input should be less than or equal to 20"),
        ({"model": None}, "model: Input should be a valid string"),
        ({"response_format": {"type": "json_schema"}}, "response_format is not supported"),
        ({"functions": [{"name": "f"}]}, "functions is not supported: the server has its own tools"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
        ({"modalities": ["audio"]}, "modalities is not supported: this model writes text only"),
        ({"audio": {"voice": "x"}}, "audio is not supported"),
        ({"logit_bias": {"5": 100}}, "logit_bias is not supported"),
        ({"presence_penalty": 1.5}, "send repetition_penalty instead"),
        ({"tools": "calculator"}, "tools: Input should be a valid array"),
        ({"tools": [{"type": "function", "function": {"name": "weather"}}]}, "there is no tool 'weather'"),
        ({"tools": [{}]}, "there is no tool '?'"),
    ],
)
def test_a_chat_that_cannot_be_is_refused_and_says_what_to_send(server, changes, says):
    assert says in refused(httpx.post(server.url + CHAT, json={**SAID, **changes}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": None}, "prompt is neither text nor token ids: expected a string"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": {"a": 1}}, "prompt is neither text nor token ids"),
        ({"prompt": [1.5]}, "prompt is neither text nor token ids"),
        ({"prompt": [True]}, "prompt is neither text nor token ids"),
        ({"prompt": ["a", 1]}, "prompt is neither text nor token ids"),
        ({"prompt": ["a", []]}, "the prompt is empty"),
        ({"prompt": [[[1]]]}, "prompt is neither text nor token ids"),
        ({"prompt": [-1]}, "the id -1 is none of the model's: expected 0 to"),
        ({"prompt": [10**9]}, "the id 1000000000 is none of the model's"),
        ({"prompt": ["a"] * 200}, "prompt has 200 entries: expected at most 128"),
        ({"prompt": ["a", "b"], "n": 100}, "2 prompts × n 100 are too many"),
        ({"prompt": [1] * 8192}, "the prompt has 8192 tokens: expected at most 8191"),
        ({"logprobs": 21}, "logprobs is 21: expected 0 to 20"),
        ({"logprobs": True}, "logprobs: Input should be a valid integer"),
        ({"suffix": "end"}, "suffix is not supported"),
        ({"echo": True}, "echo is not supported"),
        ({"best_of": 3}, "best_of is not supported"),
    ],
)
def test_a_completion_that_cannot_be_is_refused_and_says_what_to_send(server, changes, says):
    assert says in refused(httpx.post(server.url + TEXT, json={**PROMPTED, **changes}))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "the body is no JSON object"),
        (b'"text"', "the body is no JSON object"),
        (b"null", "the body is no JSON object"),
        (b"{}", "model: Field required"),
        (b"\xff\xfe{}", "Invalid JSON"),
        (b'{"model": "tiny", "prompt": "\xff"}', "Invalid JSON"),
        (b'{"model": "tiny", "prompt": "\\ud800"}', "Invalid JSON"),
        (
            b'{"model": "tiny", "prompt": "a", "temperature": NaN}',
            "temperature: Input should be a finite number",
        ),
        (b'{"model": "tiny", "prompt": "a", "top_p": Infinity}', "top_p: Input should be a finite number"),
        (b'{"model": "tiny", "prompt": "a", "temperature": 1e999}', "finite number"),
        (b'{"model": "tiny", "prompt": ' + b"[" * 40_000, "recursion limit"),
        (b'{"a":' * 9000, "recursion limit"),
    ],
)
def test_a_body_that_is_no_request_is_refused(server, body, says):
    assert says in refused(httpx.post(server.url + TEXT, content=body))


def test_fields_that_ask_for_nothing_and_fields_unknown_are_let_be(server):
    nothing = {
        "response_format": {"type": "text"}, "tool_choice": "auto", "logit_bias": {}, "presence_penalty": 0.0,
        "frequency_penalty": 0, "user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto",
        "tools": [], "modalities": ["text"], "stop": None, "n": None, "seed": None, "reasoning_effort": "low",
    }  # fmt: skip
    response = httpx.post(server.url + CHAT, json={**SAID, **nothing})
    assert response.status_code == 200, response.text


def test_what_is_not_there_is_said_to_be_not_there(server):
    assert "there is no model 'gpt-4'" in refused(
        httpx.post(server.url + CHAT, json={**SAID, "model": "gpt-4"}), 404
    )
    assert "there is no model 'a/b'" in refused(httpx.get(f"{server.url}/v1/models/a/b"), 404)
    assert "expected /v1/chat/completions" in refused(httpx.post(f"{server.url}/v1/chat", json=SAID), 404)
    assert "expected POST" in refused(httpx.get(server.url + CHAT), 405)
    assert httpx.get(f"{server.url}/docs").status_code == 404, "would load scripts from elsewhere"


def test_a_huge_body_is_refused_before_it_is_read(server):
    huge = json.dumps({**PROMPTED, "prompt": "x" * 4_000_000}).encode()
    assert "expected at most 100000" in refused(httpx.post(server.url + TEXT, content=huge), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(1000):  # chunked: nothing says how long it is
            yield b" " * 65_536

    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it hangs up while more is being sent
        assert "expected at most 100000" in refused(httpx.post(server.url + TEXT, content=endless()), 413)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(
            f"POST {TEXT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 99999999999\r\n\r\n".encode()
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 "), "answered with not one byte of it sent"
        while raw.recv(4096):
            pass  # ends: the server has hung up


def test_every_answer_carries_the_headers_that_keep_pages_apart(server):
    for answer in (httpx.get(server.url), httpx.get(f"{server.url}/nothing"), httpx.post(server.url + CHAT)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_pages_of_others_may_not_use_the_model(server, origin):
    said = refused(httpx.post(server.url + CHAT, json=SAID, headers={"Origin": origin}), 403)
    assert "may not use this server" in said
    own = httpx.post(server.url + CHAT, json=SAID, headers={"Origin": server.url})
    assert own.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_a_name_that_leads_here_by_rebinding_is_refused(server, host):
    assert "expected localhost" in refused(httpx.get(f"{server.url}/v1/models", headers={"Host": host}), 403)
    for own in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert httpx.get(f"{server.url}/v1/models", headers={"Host": own}).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "model", "messages", "prompt", "stream", "stream_options", "n", "max_tokens", "stop", "seed",
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "logprobs", "top_logprobs", "tools",
    "tool_choice",
]  # fmt: skip


# The server's threads, whose types beartype checks by sampling, draw random numbers meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module")
@settings(deadline=None, max_examples=60)
@given(
    base=st.sampled_from([(CHAT, SAID), (TEXT, PROMPTED)]),
    changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=2),
    content=st.none() | JSON,
)
def test_no_field_of_any_kind_makes_the_server_fail(server, base, changes, content):
    address, body = base
    body = {**body, **changes}
    if address == CHAT and content is not None and "messages" not in changes:
        body["messages"] = [{"role": "user", "content": content}]
    sent = json.dumps(body)  # NaN and Infinity among them, as Python spells them
    response = httpx.post(server.url + address, content=sent.encode(), timeout=60)  # some ask for much
    assert response.status_code in (200, 400, 404), (sent, response.text)
    if response.status_code != 200:
        assert refused(response, response.status_code)
