"""The engine: each request gets what it would get alone, whoever comes and goes; tools; guesses; memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine import engine as engine_module
from trueformer.inference.engine.engine import CHUNK, Engine, QueueFull, Tools
from trueformer.inference.engine.request import Request
from trueformer.inference.generate import generate
from trueformer.inference.tools.box import ToolBox
from trueformer.tokenization.conversations import ToolCall, ToolResult


def drain(engine: Engine) -> list:
    events = []
    while not engine.idle:
        events += engine.step()
    return events


def ids_of(events, request) -> list[int]:
    return [event.token.id for event in events if event.request is request and event.token is not None]


def reason_of(events, request) -> str:
    [reason] = [event.reason for event in events if event.request is request and event.reason is not None]
    return reason


samplings = st.builds(
    dict,
    temperature=st.sampled_from([0.0, 0.0, 0.7, 1.3]),
    seed=st.integers(0, 50),
    top_k=st.sampled_from([None, 5]),
    top_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
)
wishes = st.tuples(
    st.lists(st.integers(0, 96), min_size=1, max_size=40), st.integers(1, 30), samplings, st.integers(0, 12)
)


@settings(max_examples=40, deadline=None)
@given(
    asked=st.lists(wishes, min_size=1, max_size=7), n_slots=st.integers(1, 4), chunk=st.sampled_from([3, 256])
)
def test_t20_what_a_request_gets_is_what_it_gets_alone(random_model, asked, n_slots, chunk):
    """Whoever joins when, however prompts are cut, whatever others ask for."""
    before, engine_module.CHUNK = engine_module.CHUNK, chunk
    engine = Engine(random_model, n_slots=n_slots, slot_len=64)
    requests = [
        (
            at,
            Request(
                prompt=prompt, max_new_tokens=n, sampling=SamplingConfig(**sampling), stop_ids=frozenset({3})
            ),
        )
        for prompt, n, sampling, at in asked
    ]
    events = []
    for step in range(13):
        for at, request in requests:
            if at == step:
                engine.submit(request)
        events += engine.step()
    events += drain(engine)
    engine_module.CHUNK = before
    for _, request in requests:
        [alone] = generate(
            random_model,
            [request.prompt],
            request.sampling,
            max_new_tokens=request.max_new_tokens,
            stop_ids={3},
        )
        room = 64 - len(request.prompt)
        assert ids_of(events, request) == alone.ids[:room]
        if len(alone.ids) < room:
            assert reason_of(events, request) == alone.reason
        elif len(alone.ids) > room:
            assert reason_of(events, request) == "context"


@settings(max_examples=25, deadline=None)
@given(
    prompt=st.lists(st.integers(4, 9), min_size=1, max_size=30), n=st.integers(1, 40), most=st.integers(1, 6)
)
def test_guessing_changes_no_greedy_text(random_model, prompt, n, most):
    request = Request(prompt=prompt, max_new_tokens=n, sampling=SamplingConfig(temperature=0.0))
    other = Request(prompt=prompt[::-1], max_new_tokens=n, sampling=SamplingConfig(temperature=1.0))
    guessing = Engine(random_model, n_slots=2, slot_len=64, look_up=most)
    for asked in (request, other):
        guessing.submit(asked)
    events = drain(guessing)
    for asked in (request, other):
        alone = generate(
            random_model, [prompt if asked is request else prompt[::-1]], asked.sampling, max_new_tokens=n
        )
        assert ids_of(events, asked) == alone[0].ids[: 64 - len(prompt)]


def test_guessing_takes_fewer_passes_where_a_text_repeats_itself(tool_model, chat, asked):
    request = Request(prompt=chat.prompt(asked), max_new_tokens=60, sampling=SamplingConfig(temperature=0.0))
    passes = []
    for look_up in (0, 4):
        engine = Engine(tool_model, n_slots=1, slot_len=128, look_up=look_up)
        engine.submit(request)
        steps = 0
        while not engine.idle:
            engine.step()
            steps += 1
        passes.append(steps)
    assert passes[1] < passes[0]


def passes_of(engine) -> list[list[int]]:
    """Fills up with the numbers of tokens a row of every pass from now on."""
    passes, plan = [], engine.cache.plan

    def noted(rows, shares):
        passes.append([n for _, n in rows])
        plan(rows, shares)

    engine.cache.plan = noted
    return passes


def test_a_shared_beginning_is_read_once(random_model):
    """From a free slot in place, from a busy one by copying; the answers stay those of a fresh engine."""
    system = [i % 97 for i in range(40)]
    greedy = SamplingConfig(temperature=0.0)
    engine = Engine(random_model, n_slots=2, slot_len=96)
    read = passes_of(engine)
    requests = [Request(prompt=[*system, i, i], max_new_tokens=5, sampling=greedy) for i in range(3)]
    engine.submit(requests[0])
    events = engine.step()
    engine.submit(requests[1])  # while the first is under way: copied
    events += drain(engine)
    engine.submit(requests[2])  # both free: in place
    events += drain(engine)
    assert sum(map(sum, read)) == 42 + 2 + 2 + 3 * 4
    for request in requests:
        [alone] = generate(random_model, [request.prompt], greedy, max_new_tokens=5)
        assert ids_of(events, request) == alone.ids


@pytest.mark.parametrize(
    ("shared", "passes"),
    # In the pass that reads it; a longer one by the first alone, until what is left of a pass is for others.
    [(40, [42 + 3 * 2]), (CHUNK + 10, [CHUNK, 12 + 3 * 2]), (CHUNK, [CHUNK, 2 + 3 * 2])],
)
def test_a_beginning_shared_by_requests_that_come_at_once_is_read_once(random_model, shared, passes):
    system = [i % 97 for i in range(shared)]
    greedy = SamplingConfig(temperature=0.0)
    engine = Engine(random_model, n_slots=4, slot_len=128)
    read = passes_of(engine)
    requests = [Request(prompt=[*system, i, i], max_new_tokens=3, sampling=greedy) for i in range(4)]
    for request in requests:
        engine.submit(request)
    events = drain(engine)
    assert list(map(sum, read)) == [*passes, 4, 4]
    for request in requests:
        [alone] = generate(random_model, [request.prompt], greedy, max_new_tokens=3)
        assert ids_of(events, request) == alone.ids


def test_a_prompt_that_does_not_fit_the_rest_of_a_pass_waits_for_the_next_but_a_long_one_is_cut(random_model):
    lengths = (CHUNK - 20, 30, CHUNK + 5)
    engine = Engine(random_model, n_slots=3, slot_len=128)
    read = passes_of(engine)
    for i, length in enumerate(lengths):
        engine.submit(Request(prompt=[i] * length, max_new_tokens=2))
    drain(engine)
    assert read == [[CHUNK - 20], [1, 30], [1, CHUNK], [5], [1]]


def test_the_same_prompt_again_reads_its_last_token_only(random_model):
    engine = Engine(random_model, n_slots=1, slot_len=96)
    read, prompt = passes_of(engine), list(range(30))
    texts = []
    for _ in range(3):
        request = Request(prompt=prompt, max_new_tokens=4, sampling=SamplingConfig(temperature=0.0))
        engine.submit(request)
        texts.append(ids_of(drain(engine), request))
    assert texts[0] == texts[1] == texts[2]
    assert read == [[30], [1], [1], [1]] + 2 * [[1], [1], [1], [1]]


def test_cancelling_frees_the_slot_for_the_next_step(random_model):
    engine = Engine(random_model, n_slots=1, slot_len=96)
    first, second, third = (Request(prompt=[i], max_new_tokens=50) for i in range(1, 4))
    for request in (first, second, third):
        engine.submit(request)
    engine.step()
    assert (engine.n_running, engine.n_waiting) == (1, 2)
    assert reason_of(engine.cancel(first), first) == "cancelled"
    assert reason_of(engine.cancel(third), third) == "cancelled"
    assert engine.cancel(first) == []
    events = engine.step()
    assert ids_of(events, second)
    assert (engine.n_running, engine.n_waiting) == (1, 0)


def test_n11_a_thousand_requests_leave_memory_and_slots_as_they_were(random_model):
    engine = Engine(random_model, n_slots=3, slot_len=32)
    place, size = engine.cache.keys[0].data_ptr(), engine.cache.nbytes
    generator = torch.Generator().manual_seed(0)
    requests = []
    for i in range(1000):
        n = int(torch.randint(1, 12, (), generator=generator))
        requests.append(Request(prompt=[i % 97] * n, max_new_tokens=2))
        engine.submit(requests[-1])
        engine.step()
        if i % 7 == 0:
            engine.cancel(requests[i // 2])
    drain(engine)
    assert (engine.cache.keys[0].data_ptr(), engine.cache.nbytes) == (place, size)
    assert engine._pool.n_free == 3
    assert all(len(held) <= 32 for held in engine._pool.held)
    assert [len(held) for held in engine._pool.held] == engine.cache.lengths


def test_n12_a_tool_is_called_and_its_result_put_between_its_marks(tool_model, chat, asked):
    with ToolBox(["calculator"]) as box:
        tools = Tools(tokenizer=chat.tokenizer, marks=chat.tools, box=box)
        engine = Engine(tool_model, n_slots=2, slot_len=128, tools=tools)
        request = Request(
            prompt=chat.prompt(asked),
            max_new_tokens=60,
            sampling=SamplingConfig(temperature=0.0),
            stop_ids=chat.stop_ids,
            tools=True,
        )
        engine.submit(request)
        events = drain(engine)
    assert [event.part for event in events if event.part is not None] == [
        ToolCall("calculator", "6*7"),
        ToolResult("42"),
    ]
    assert chat.tokenizer.decode(ids_of(events, request), skip_special=False) == (
        "<|call_start|>calculator 6*7<|call_end|><|output_start|>42<|output_end|>It is 42."
    )
    forced = [event.token.id for event in events if event.token and event.token.forced]
    assert chat.tokenizer.decode(forced, skip_special=False) == "<|output_start|>42<|output_end|>"
    assert reason_of(events, request) == "stop"


def test_others_go_on_while_a_tool_is_slow(tool_model, chat, asked, tmp_path):
    file = tmp_path / "slow.py"
    file.write_text(
        "import time\nfrom trueformer.inference.tools import Tool\n"
        "def run(text):\n    time.sleep(1.0)\n    return '42'\n"
        "TOOLS = [Tool(name='calculator', about='slow', run=run)]\n"
    )
    with ToolBox([file]) as box:
        tools = Tools(tokenizer=chat.tokenizer, marks=chat.tools, box=box)
        engine = Engine(tool_model, n_slots=2, slot_len=128, tools=tools)
        greedy = SamplingConfig(temperature=0.0)
        slow = Request(
            prompt=chat.prompt(asked), max_new_tokens=60, sampling=greedy, stop_ids=chat.stop_ids, tools=True
        )
        quick = Request(prompt=[5, 6, 7], max_new_tokens=20)
        for request in (slow, quick):
            engine.submit(request)
        events = drain(engine)
    ended = [event.request for event in events if event.reason]
    assert ended == [quick, slow]
    assert reason_of(events, slow) == "stop"


def test_without_tools_a_call_ends_the_answer(tool_model, chat, asked):
    tools = Tools(tokenizer=chat.tokenizer, marks=chat.tools, box=None)
    engine = Engine(tool_model, n_slots=1, slot_len=128, tools=tools)
    request = Request(
        prompt=chat.prompt(asked), max_new_tokens=60, sampling=SamplingConfig(temperature=0.0), tools=True
    )
    engine.submit(request)
    events = drain(engine)
    assert reason_of(events, request) == "tool_calls"
    assert [event.part for event in events if event.part] == [ToolCall("calculator", "6*7")]


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("a\tb c", [ToolCall("a", "b c")]),
        ("\x1cb", []),
        ("", []),
        ("calculator", [ToolCall("calculator", "")]),
        ("nothing here", [ToolCall("nothing", "here")]),
    ],
)
def test_a_call_however_written_leaves_the_engine_whole(tool_model, chat, written, parts):
    """What a model writes between the marks of a call is anybody's guess."""
    tools = Tools(tokenizer=chat.tokenizer, marks=chat.tools, box=None)
    engine = Engine(tool_model, n_slots=1, slot_len=128, tools=tools)
    request = Request(prompt=[1], max_new_tokens=100, tools=True)
    engine.submit(request)
    engine.step()
    [running] = engine._running
    logits_V = torch.zeros(chat.tokenizer.vocab_size)
    ids = [chat.tools.call_start, *chat.tokenizer.encode(written), chat.tools.call_end]
    events = [event for token in ids for event in engine._accept(running, token, logits_V)]
    assert [event.part for event in events if event.part] == parts


def test_the_model_never_writes_the_marks_of_a_result(tool_model, chat):
    """After a call, all that training showed is a result; the model itself must write something else."""
    tools = Tools(tokenizer=chat.tokenizer, marks=chat.tools, box=None)
    engine = Engine(tool_model, n_slots=4, slot_len=128, tools=tools)
    marks = {chat.tools.output_start, chat.tools.output_end}
    requests = [
        Request(
            prompt=[chat.tools.call_end], max_new_tokens=50, sampling=SamplingConfig(temperature=3.0, seed=i)
        )
        for i in range(20)
    ]
    for request in requests:
        engine.submit(request)
    events = drain(engine)
    assert sum(len(ids_of(events, request)) for request in requests) == 1000
    assert not marks & {event.token.id for event in events if event.token}


def test_ids_that_no_tokenizer_has_are_never_taken(random_model):
    engine = Engine(random_model, n_slots=4, slot_len=64, n_ids=50)
    for i in range(8):
        sampling = SamplingConfig(temperature=5.0 * (i % 2), seed=i)
        engine.submit(Request(prompt=[i], max_new_tokens=40, sampling=sampling))
    taken = {event.token.id for event in drain(engine) if event.token}
    assert taken <= set(range(50))
    assert len(taken) > 40


def test_log_probabilities_are_the_models_own(random_model):
    engine = Engine(random_model, n_slots=1, slot_len=64)
    sampling = SamplingConfig(temperature=0.3, top_k=3, repetition_penalty=1.5)
    request = Request(prompt=[1, 2, 3], max_new_tokens=6, sampling=sampling, logprobs=4)
    engine.submit(request)
    events = drain(engine)
    ids = [1, 2, 3, *ids_of(events, request)]
    with torch.inference_mode():
        logp = random_model(torch.tensor([ids]))[0].log_softmax(-1)
    tokens = [event.token for event in events if event.token]
    for place, token in enumerate(tokens, start=2):
        assert token.logprob == pytest.approx(float(logp[place, token.id]), abs=1e-4)
        best = logp[place].topk(4)
        assert [i for i, _ in token.top] == best.indices.tolist()
        assert [p for _, p in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_logits_that_are_not_finite_end_their_own_request_only(random_model):
    engine = Engine(random_model, n_slots=2, slot_len=64)
    bad, good = Request(prompt=[1, 2], max_new_tokens=4), Request(prompt=[5], max_new_tokens=4)
    engine.submit(bad)
    engine.submit(good)
    events = engine.step()
    with torch.inference_mode():
        engine.cache.values[0][0, 0] = float("nan")
    events += drain(engine)
    assert reason_of(events, bad) == "error"
    assert reason_of(events, good) == "length"


def test_what_was_not_finite_in_a_slot_harms_nobody_who_gets_it_later(random_model):
    """Where slots attend together, a short text's row spans what the slot held further on."""
    engine = Engine(random_model, n_slots=2, slot_len=64)
    bad = Request(prompt=[1] * 9, max_new_tokens=9)
    engine.submit(bad)
    engine.step()
    with torch.inference_mode():
        engine.cache.keys[0][0, 8] = float("nan")
    assert reason_of(drain(engine), bad) == "error"
    greedy = SamplingConfig(temperature=0.0)
    short, long = (Request(prompt=[n] * n, max_new_tokens=4, sampling=greedy) for n in (2, 30))
    engine.submit(long)  # in the other slot, which is free for longer
    engine.submit(short)
    events = drain(engine)
    for request in (short, long):
        [alone] = generate(random_model, [request.prompt], greedy, max_new_tokens=4)
        assert ids_of(events, request) == alone.ids


def test_what_cannot_be_is_refused(random_model):
    engine = Engine(random_model, n_slots=1, slot_len=8, max_queue=1)
    with pytest.raises(ValueError, match="has 8 tokens: expected at most 7"):
        engine.submit(Request(prompt=[1] * 8, max_new_tokens=1))
    with pytest.raises(ValueError, match="expected 0 to 96"):
        engine.submit(Request(prompt=[97], max_new_tokens=1))
    engine.submit(Request(prompt=[1], max_new_tokens=1))  # will get the slot
    engine.submit(Request(prompt=[1], max_new_tokens=1))
    with pytest.raises(QueueFull, match="1 requests wait already"):
        engine.submit(Request(prompt=[1], max_new_tokens=1))
    with pytest.raises(ValueError, match="prompt is empty"):
        Request(prompt=[], max_new_tokens=1)
    with pytest.raises(ValueError, match="max_tokens is 0"):
        Request(prompt=[1], max_new_tokens=0)
    with pytest.raises(ValueError, match="logprobs is 21"):
        Request(prompt=[1], max_new_tokens=1, logprobs=21)
    with pytest.raises(ValueError, match="training mode"):
        Engine(type(random_model)(random_model.config), n_slots=1, slot_len=8)
