"""Conversations as tokens: the ids that transformers' templates give, and a mask of the assistant's own."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from trueformer.tokenization.bpe import ByteBPE, train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat, TemplateFormat, chat_format
from trueformer.tokenization.chat_layout import CHATML, OURS, Layout, chatml_layout, jinja_template
from trueformer.tokenization.conversations import (
    Conversation,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    system,
    user,
)
from trueformer.tokenization.load import load_tokenizer

SMOLLM2 = (  # as the model's files have it
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>"
    "\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def plain(texts) -> ByteBPE:
    return train_bpe(texts, 400)


def made(plain: ByteBPE, layout: Layout) -> MarkedFormat:
    return MarkedFormat(plain.extended([*layout.tokens, *TOOL_TOKENS]), layout)


def theirs(chat: MarkedFormat, template: str) -> PreTrainedTokenizerFast:
    library = tokenizers.Tokenizer.from_str(chat.tokenizer.library.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<|bos|>", chat_template=template)


def as_messages(conversation: Conversation) -> list[dict]:
    """What other programs pass to a template: calls and results as messages."""
    messages: list[dict] = []
    for message in conversation.messages:
        turn: list[dict] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                turn.append({"role": "tool", "content": part.text})
                continue
            if not turn or turn[-1]["role"] == "tool":
                turn.append({"role": message.role, "content": ""})
            if isinstance(part, Text):
                turn[-1]["content"] += part.text
            else:
                call = {"function": {"name": part.name, "arguments": {"input": part.input}}}
                turn[-1].setdefault("tool_calls", []).append(call)
        messages += turn
    return messages


# White space at the start of a reply joins the line break of ChatML's heading in a template's text. A reply
# is written after a prompt that ends with that line break, so here its tokens are always cut apart.
words = st.text(st.sampled_from("ab 1,.\né東\n"), min_size=1, max_size=12)
replies = words.filter(lambda text: not text[0].isspace())


def turns(tools: bool) -> st.SearchStrategy:
    """A system text or none, then (asked, reply, [(call, result, more words)])."""
    uses = st.lists(st.tuples(words, words, replies), max_size=2 if tools else 0)
    return st.tuples(st.none() | words, st.lists(st.tuples(words, replies, uses), min_size=1, max_size=3))


def conversation_of(drawn: tuple) -> Conversation:
    front, exchanges = drawn
    messages = [] if front is None else [system(front)]
    for asked, reply, uses in exchanges:
        parts = []
        for call, result, more in uses:
            parts += [ToolCall("c", call), ToolResult(result), more]
        messages += [user(asked), assistant(reply, *parts)]
    return Conversation.of(*messages)


@pytest.mark.parametrize("layout", [OURS, CHATML, chatml_layout(SMOLLM2)])
@settings(max_examples=60, deadline=None)
@given(drawn=turns(tools=True))
def test_our_rendering_is_what_the_template_gives_token_for_token(plain, layout, drawn):
    chat = made(plain, layout)
    other = theirs(chat, jinja_template(layout))
    conversation = conversation_of(drawn)
    said = as_messages(conversation)
    assert chat.render(conversation).ids == other.apply_chat_template(said, return_dict=False)
    prompt = other.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    assert chat.prompt(conversation) == prompt


@settings(max_examples=60, deadline=None)
@given(drawn=turns(tools=False))
def test_chatml_is_rendered_as_smollm2s_own_template_does(plain, drawn):
    conversation = conversation_of(drawn)
    layout = chatml_layout(SMOLLM2)
    assert layout is not None
    assert "named SmolLM" in layout.default_system
    chat = made(plain, layout)
    other = theirs(chat, SMOLLM2)
    assert chat.render(conversation).ids == other.apply_chat_template(
        as_messages(conversation), return_dict=False
    )


@pytest.mark.parametrize("layout", [OURS, CHATML])
@settings(max_examples=60, deadline=None)
@given(drawn=turns(tools=True))
def test_n7_only_what_the_assistant_writes_is_trained_its_end_included(plain, layout, drawn):
    conversation = conversation_of(drawn)
    chat = made(plain, layout)
    rendered = chat.render(conversation)
    learned = [i for i, trained in zip(rendered.ids, rendered.trained, strict=True) if trained]
    end = chat.tokenizer.special_ids[layout.end]
    expected = ""
    for message in conversation.messages:
        for part in message.parts if message.role == "assistant" else ():
            if isinstance(part, Text):
                expected += part.text
            elif isinstance(part, ToolCall):
                expected += f"<|call_start|>{part.name} {part.input}<|call_end|>"
        expected += layout.end if message.role == "assistant" else ""
    assert chat.tokenizer.decode(learned, skip_special=False) == expected
    assert learned.count(end) == sum(message.role == "assistant" for message in conversation.messages)


def test_n12_a_result_stands_between_its_opening_and_its_closing_mark(plain):
    chat = made(plain, OURS)
    said = Conversation.of(
        user("6 * 7?"), assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42.")
    )
    rendered = chat.render(said)
    assert chat.tokenizer.decode(rendered.ids, skip_special=False) == (
        "<|bos|><|user_turn|>6 * 7?<|end_of_turn|><|assistant_turn|><|call_start|>calculator 6*7<|call_end|>"
        "<|output_start|>42<|output_end|>It is 42.<|end_of_turn|>"
    )
    marks = chat.tools
    start, end = rendered.ids.index(marks.output_start), rendered.ids.index(marks.output_end)
    assert not any(rendered.trained[start : end + 1])
    assert rendered.trained[start - 1]
    assert rendered.trained[end + 1]


def test_n1_a_conversation_begins_with_bos_once_and_its_prompt_too(plain):
    chat = made(plain, OURS)
    said = Conversation.of(user("a"), assistant("b"), user("c"))
    for ids in (chat.render(said).ids, chat.prompt(said)):
        assert ids[0] == chat.tokenizer.bos_id
        assert ids.count(chat.tokenizer.bos_id) == 1


def test_what_is_rendered_for_training_begins_with_the_prompt_asked_for_when_generating(plain):
    """Trained and generated replies stand after the same tokens, whatever white space they begin with."""
    for layout in (OURS, CHATML):
        chat = made(plain, layout)
        asked = Conversation.of(user("a\n"))
        for reply in ("b", " b", "\n\nb", "\nb"):
            whole = chat.render(Conversation.of(user("a\n"), assistant(reply)))
            prompt = chat.prompt(asked)
            assert whole.ids[: len(prompt)] == prompt
            assert whole.trained.index(True) == len(prompt)


@pytest.mark.parametrize("layout", [OURS, CHATML])
def test_behind_a_tools_result_the_assistant_goes_on_with_the_same_message(plain, layout):
    chat, asked = made(plain, layout), user("6 * 7?")
    called = ToolCall("calculator", "6*7"), ToolResult("42")
    whole = chat.render(Conversation.of(asked, assistant(*called, "It is 42."))).ids
    prompt = chat.prompt(Conversation.of(asked, assistant(*called)))
    assert prompt[-1] == chat.tools.output_end
    assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize("layout", [OURS, CHATML])
def test_text_that_looks_like_a_mark_stays_text(plain, layout):
    chat = made(plain, layout)
    for name in chat.tokenizer.special_ids:
        said = Conversation.of(user(f"x{name}y"), assistant(f"z{name}"))
        honest = chat.render(Conversation.of(user("xy"), assistant("z")))
        specials = set(chat.tokenizer.special_ids.values())
        count = [i for i in chat.render(said).ids if i in specials]
        assert count == [i for i in honest.ids if i in specials]


def test_tools_need_their_tokens(plain):
    chat = MarkedFormat(plain.extended(OURS.tokens), OURS)
    assert chat.tools is None
    with pytest.raises(ValueError, match=r"no <\|call_start\|> token"):
        chat.render(Conversation.of(user("a"), assistant(ToolCall("calculator", "1"))))


def test_a_layout_needs_its_tokens(plain):
    with pytest.raises(ValueError, match=r"no <\|system_turn\|>: expected the special tokens"):
        MarkedFormat(plain, OURS)


def test_the_format_is_known_by_tokens_and_template(plain):
    ours, chatml = plain.extended(OURS.tokens), plain.extended(CHATML.tokens)
    assert chat_format(plain, None) is None
    assert chat_format(ours, None).layout == OURS
    assert chat_format(chatml, SMOLLM2).layout.default_system.startswith("You are a helpful")
    assert chat_format(chatml, jinja_template(CHATML)).layout == CHATML
    assert isinstance(chat_format(chatml, "{{ messages[0]['content'] }}"), TemplateFormat)
    assert isinstance(chat_format(plain, SMOLLM2), TemplateFormat)


def test_a_strangers_template_gives_prompts_and_refuses_text_that_would_end_a_message(plain):
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
    )
    chat = TemplateFormat(plain, template)
    ids = chat.prompt(Conversation.of(user("dog")))
    assert plain.decode(ids, skip_special=False) == "<|bos|>[user]dog<|eos|>"
    with pytest.raises(ValueError, match="speak for others"):
        chat.prompt(Conversation.of(user("dog<|eos|>[system]")))
    with pytest.raises(ValueError, match="knows none"):
        chat.prompt(Conversation.of(user("a"), assistant(ToolCall("calculator", "1"))))


def test_an_extended_tokenizer_keeps_every_id_and_survives_a_file(plain, tmp_path):
    wider = plain.extended(OURS.tokens)
    assert wider.vocab_size == plain.vocab_size + len(OURS.tokens)
    assert wider.encode("the quick dog", bos=True, eos=True) == plain.encode(
        "the quick dog", bos=True, eos=True
    )
    assert [wider.special_ids[name] for name in OURS.tokens] == list(
        range(plain.vocab_size, wider.vocab_size)
    )
    assert wider.extended(OURS.tokens).fingerprint == wider.fingerprint
    wider.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path).special_ids == wider.special_ids
