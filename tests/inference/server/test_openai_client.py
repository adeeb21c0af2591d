"""The official client against the real server: what works with OpenAI works here."""

import asyncio
import json

import openai
import pytest

from trueformer.inference.engine.request import Token
from trueformer.inference.server.logprobs import ChatLogprobs, TextLogprobs

HELLO = [{"role": "user", "content": "Hello"}]
SAID = {"messages": HELLO, "max_tokens": 12, "temperature": 0}


def chat(server, **changes):
    return server.client.chat.completions.create(model=server.name, **{**SAID, **changes})


def complete(server, **changes):
    wishes = {"prompt": "What", "max_tokens": 12, "temperature": 0}
    return server.client.completions.create(model=server.name, **{**wishes, **changes})


def test_the_model_is_listed_and_found_by_its_name(server):
    (model,) = server.client.models.list().data
    assert (model.id, model.object, model.owned_by) == (server.name, "model", "trueformer")
    extra = model.model_extra
    assert (extra["context_length"], extra["chat"], extra["tools"]) == (8192, True, ["calculator", "strings"])
    assert server.client.models.retrieve(server.name).id == server.name


def test_a_chat_and_its_stream_say_the_same(server):
    whole = chat(server)
    choice = whole.choices[0]
    assert (whole.object, whole.model, whole.id[:9]) == ("chat.completion", server.name, "chatcmpl-")
    assert (choice.finish_reason, choice.message.role, choice.logprobs) == ("length", "assistant", None)
    assert (whole.usage.completion_tokens, whole.usage.total_tokens) == (12, 12 + whole.usage.prompt_tokens)
    chunks = list(chat(server, stream=True, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    *told, end = chunks
    assert end.choices == []
    assert end.usage == whole.usage
    assert told[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == choice.message.content != ""
    reasons = [chunk.choices[0].finish_reason for chunk in told]
    assert reasons == [None] * (len(told) - 1) + ["length"]
    assert {chunk.usage for chunk in told} == {None}


def test_a_completion_and_its_stream_say_the_same(server):
    whole = complete(server)
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "length")
    streamed = list(complete(server, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole.choices[0].text != ""
    assert streamed[-1].choices[0].finish_reason == "length"


def test_several_prompts_as_text_or_as_ids_get_their_own_answers(server):
    alone = [complete(server, prompt=prompt).choices[0].text for prompt in ("What", "It is")]
    assert alone[0] != alone[1]
    tokenizer = server.service.tokenizer
    ids = tokenizer.encode(["What", "It is"], bos=True)
    for prompt in (["What", "It is"], ids):
        answer = complete(server, prompt=prompt)
        assert [choice.text for choice in answer.choices] == alone
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage.prompt_tokens == sum(map(len, ids))
    assert complete(server, prompt=ids[1]).choices[0].text == alone[1]


def test_a_stop_string_ends_the_text_before_it(server):
    free = chat(server).choices[0].message.content
    stop = free[3:5]
    for stops in (stop, ["never said", stop]):
        cut = chat(server, stop=stops).choices[0]
        assert (cut.message.content, cut.finish_reason) == (free[: free.index(stop)], "stop")
    chunks = list(chat(server, stop=stop, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == free[: free.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_seed_repeats_a_text_and_n_choices_take_the_seeds_that_follow(server):
    three = chat(server, n=3, seed=5, temperature=1)
    texts = [choice.message.content for choice in three.choices]
    assert len(set(texts)) == 3
    alone = [chat(server, seed=5 + i, temperature=1).choices[0].message.content for i in range(3)]
    assert texts == alone
    streamed = {0: "", 1: "", 2: ""}
    for chunk in chat(server, n=3, seed=5, temperature=1, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == texts


def test_a_seed_that_was_not_given_is_told(server):
    first, second = (chat(server, temperature=1) for _ in range(2))
    assert first.choices[0].message.content != second.choices[0].message.content
    again = chat(server, temperature=1, seed=first.model_extra["seed"])
    assert again.choices[0].message.content == first.choices[0].message.content


def test_extensions_reach_the_sampler(server):
    likeliest = chat(server).choices[0].message.content
    options = {"temperature": 1, "seed": 1}
    assert chat(server, **options).choices[0].message.content != likeliest
    for body in ({"top_k": 1}, {"min_p": 1.0}):
        assert chat(server, **options, extra_body=body).choices[0].message.content == likeliest
    assert chat(server, extra_body={"repetition_penalty": 9.0}).choices[0].message.content != likeliest


def test_logprobs_of_a_chat_belong_to_its_tokens(server):
    choice = chat(server, logprobs=True, top_logprobs=3).choices[0]
    tokens = choice.logprobs.content
    assert len(tokens) == 12
    assert (
        bytes(byte for token in tokens for byte in token.bytes).decode(errors="replace")
        == choice.message.content
    )
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].bytes == token.bytes, "the likeliest was taken"
        assert 0 >= token.logprob == token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob
    streamed = [
        entry
        for chunk in chat(server, logprobs=True, top_logprobs=3, stream=True)
        for entry in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [token.bytes for token in streamed] == [token.bytes for token in tokens]
    assert chat(server, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


def test_logprobs_of_a_completion_are_lists_side_by_side(server):
    choice = complete(server, logprobs=2).choices[0]
    logprobs = choice.logprobs
    lengths = [
        len(getattr(logprobs, name)) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    ]
    assert lengths == [12] * 4
    assert logprobs.text_offset[0] == 0
    for i, token in enumerate(logprobs.tokens):
        assert logprobs.token_logprobs[i] == max(logprobs.top_logprobs[i].values())
        if not token.startswith("bytes:") and i < 11 and not logprobs.tokens[i - 1].startswith("bytes:"):
            assert choice.text[logprobs.text_offset[i] :].startswith(token)


def test_offsets_and_bytes_of_tokens_hold_where_characters_are_cut(chat):
    text = "It is what 42 é is"
    ids = chat.tokenizer.encode(text)
    tokens = [Token(i, logprob=-1.0, top=((i, -1.0), (ids[0], float("-inf")))) for i in ids]
    told = TextLogprobs(chat.tokenizer).of(tokens)
    before = [chat.tokenizer.decode(ids[:i]).rstrip("\ufffd") for i in range(len(ids))]
    assert told["text_offset"] == [len(words) for words in before]
    assert max(map(len, told["tokens"])) > 1
    assert [name for name in told["tokens"] if name.startswith("bytes:")] == ["bytes:\\xc3", "bytes:\\xa9"]
    content = ChatLogprobs(chat.tokenizer).of(tokens)["content"]
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == text
    assert content[1]["top_logprobs"][1]["logprob"] == -9999.0, "JSON has no infinity"
    strange = ChatLogprobs(chat.tokenizer).of([Token(chat.tokenizer.vocab_size, logprob=-1.0)])
    assert strange["content"][0]["bytes"] == [], "a row of the model that is no token"


def test_the_context_ends_a_text_as_length_does(server):
    prompt = [1] * 8186
    choice = complete(server, prompt=prompt, max_tokens=6).choices[0]
    assert choice.finish_reason == "length"


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"temperature": -1}, openai.BadRequestError, "expected 0 (greedy) or more"),
        ({"top_p": 0}, openai.BadRequestError, "expected above 0 and at most 1"),
        ({"top_p": 1.5}, openai.BadRequestError, "expected above 0 and at most 1"),
        ({"max_tokens": 9000}, openai.BadRequestError, "send a smaller max_tokens"),
        ({"messages": []}, openai.BadRequestError, "at least one message"),
        ({"model": "other"}, openai.NotFoundError, "expected 'tiny'"),
    ],
)
def test_errors_are_those_of_the_client_and_say_what_to_send(server, changes, error, said):
    with pytest.raises(error) as raised:
        server.client.chat.completions.create(**{"model": server.name, **SAID, **changes})
    assert said in raised.value.body["message"]


def test_sixteen_at_once_say_what_each_says_alone(server, run_async):
    prompts = [f"What is {i} * {i + 1}?" for i in range(16)]
    alone = [complete(server, prompt=prompt, max_tokens=24).choices[0].text for prompt in prompts]

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            options = {"model": server.name, "max_tokens": 24, "temperature": 0}
            asked = [client.completions.create(prompt=prompt, **options) for prompt in prompts]
            return [answer.choices[0].text for answer in await asyncio.gather(*asked)]

    assert run_async(together()) == alone
    assert len(set(alone)) > 8


def test_the_asynchronous_client_streams(server, run_async):
    async def read() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(model=server.name, stream=True, **SAID)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert run_async(read()) == chat(server).choices[0].message.content


ASKED = [{"role": "user", "content": "What is 6 * 7?"}]
PARTS = [
    {"type": "tool_call", "name": "calculator", "input": "6*7"},
    {"type": "tool_result", "text": "42"},
    {"type": "text", "text": "It is 42."},
]


def test_n12_a_tool_is_called_by_the_server_and_shown_in_order(tool_server):
    wishes = {"model": tool_server.name, "messages": ASKED, "temperature": 0}
    before = tool_server.metrics()["trueformer_tool_calls_total"]
    message = tool_server.client.chat.completions.create(**wishes).choices[0].message
    assert (message.content, message.model_extra["parts"], message.tool_calls) == ("It is 42.", PARTS, None)
    shown = []
    for chunk in tool_server.client.chat.completions.create(**wishes, stream=True):
        delta = chunk.choices[0].delta
        shown += [{"type": "text", "text": delta.content}] if delta.content else []
        shown += delta.model_extra.get("parts", [])
    texts = [part["text"] for part in shown if part["type"] == "text"]
    assert [part for part in shown if part["type"] != "text"] == PARTS[:2]
    assert "".join(texts) == "It is 42."
    assert shown.index(PARTS[1]) < shown.index({"type": "text", "text": texts[0]})
    assert tool_server.metrics()["trueformer_tool_calls_total"] == before + 2


def test_a_history_with_tools_is_read_in_our_form_and_in_openais(tool_server):
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "calculator", "arguments": '{"input": "6*7"}'},
    }
    histories = [
        [{"role": "assistant", "content": PARTS}],
        [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "42"},
            {"role": "assistant", "content": "It is 42."},
        ],
    ]
    answers = []
    for history in histories:
        wishes = {"model": tool_server.name, "messages": ASKED + history + ASKED, "temperature": 0}
        answers.append(tool_server.client.chat.completions.create(**wishes, max_tokens=8))
    assert answers[0].usage.prompt_tokens == answers[1].usage.prompt_tokens > 20
    assert answers[0].choices[0].message == answers[1].choices[0].message


def test_only_tools_that_the_server_has_may_be_declared(tool_server):
    def ask(name: str):
        tool = {"type": "function", "function": {"name": name}}
        return tool_server.client.chat.completions.create(
            model=tool_server.name, messages=ASKED, temperature=0, tools=[tool]
        )

    assert ask("calculator").choices[0].message.content == "It is 42."
    with pytest.raises(openai.BadRequestError, match="runs its own"):
        ask("get_weather")


def test_without_tools_of_its_own_the_server_leaves_calls_to_the_client(toolless_server):
    wishes = {"messages": ASKED, "temperature": 0, "model": toolless_server.name}
    choice = toolless_server.client.chat.completions.create(**wishes).choices[0]
    streamed = [
        call
        for chunk in toolless_server.client.chat.completions.create(**wishes, stream=True)
        for call in chunk.choices[0].delta.tool_calls or []
    ]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    for call in (choice.message.tool_calls[0], streamed[0]):
        assert (call.function.name, json.loads(call.function.arguments)) == ("calculator", {"input": "6*7"})
    result = {"role": "tool", "tool_call_id": choice.message.tool_calls[0].id, "content": "42"}
    told = [*ASKED, choice.message.model_dump(exclude_none=True), result]
    again = toolless_server.client.chat.completions.create(**wishes | {"messages": told}).choices[0]
    assert (again.finish_reason, again.message.content) == ("stop", "It is 42.")
