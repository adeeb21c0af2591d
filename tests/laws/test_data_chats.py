"""The laws of conversations: silent on every sound convention of rendering and masking, broken by each fault."""

import json

import pytest
import torch
from torch import nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

BOS, EOS, PAD, SAYS, CALL, CALL_END, OUTPUT, OUTPUT_END = range(256, 264)
V = 264
LAWS = (
    "data/chat-learns-answers",
    "data/chat-leaves-questions",
    "data/chat-ends-turns",
    "data/chat-leaves-results",
    "data/chat-opens-results",
)


class Bytes:
    bos_id, eos_id, pad_id, vocab_size = BOS, EOS, PAD, V

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return "".join(chr(i) if i < 256 else f"<{i}>" for i in ids)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(V, 8), nn.Linear(8, V)

    def forward(self, ids):
        return self.head(self.table(ids))


def render(messages, fault=None):
    """Ids and whether each is learned: `<says>role: text<eos>`, calls and results between marks of their own."""
    ids, learned = [BOS], [False]

    def add(more, is_learned):
        ids.extend(more)
        learned.extend([is_learned] * len(more))

    for message in messages:
        role, words = message["role"], list(message["content"].encode())
        if role == "tool":
            late = fault == "the mark comes after the result"
            add([*words, OUTPUT, OUTPUT_END] if late else [OUTPUT, *words, OUTPUT_END], fault == "results")
            continue
        writes = role == "assistant"
        add([SAYS, *f"{role}: ".encode()], False)
        add(words, writes or (fault == "users" and role == "user"))
        for call in message.get("tool_calls", ()):
            add([CALL, *json.dumps(call["function"]).encode(), CALL_END], True)
        if not (message.get("tool_calls") and fault == "no end behind a call"):
            add([EOS], writes and fault != "no end")
    if fault == "inverted":
        learned = [not flag for flag in learned]
    return ids, learned


def filled(rows, value, length):
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def batches(fault=None, shifted=True, render=render):
    """What `chats` is: padded rows of (inputs, targets) with -100, shifted by one here or in the model."""

    def chats(conversations):
        rendered = [render(messages, fault) for messages in conversations]
        if fault == "one early":
            rendered = [(ids, [*learned[1:], False]) for ids, learned in rendered]
        if fault == "one late":
            rendered = [(ids, [False, *learned[:-1]]) for ids, learned in rendered]
        labels = [[i if flag else -100 for i, flag in zip(*row, strict=True)] for row in rendered]
        length = max(len(ids) for ids, _ in rendered)
        x, y = filled([ids for ids, _ in rendered], PAD, length), filled(labels, -100, length)
        rows = zip(x.split(8), y.split(8), strict=True)
        if shifted:
            return [(a[:, :-1], b[:, 1:]) for a, b in rows]
        return [{"input_ids": a, "labels": b} for a, b in rows]

    return chats


def judged(law, chats, tokenizer=None):
    parts = {"chats": chats, "tokenizer": tokenizer or Bytes()}
    return check(Small(), only=[law], vocab_size=V, **parts).results[0]


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_each_law_holds_of_sound_conversations(law, shifted):
    assert judged(law, batches(shifted=shifted)).verdict is Verdict.HOLDS


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize(
    ("law", "fault"),
    [
        ("data/chat-learns-answers", "inverted"),
        ("data/chat-learns-answers", "one late"),
        ("data/chat-ends-turns", "one early"),
        ("data/chat-leaves-questions", "inverted"),
        ("data/chat-leaves-questions", "users"),
        ("data/chat-ends-turns", "no end"),
        ("data/chat-leaves-results", "results"),
        ("data/chat-opens-results", "the mark comes after the result"),
    ],
)
def test_n7_n12_each_fault_breaks_its_law(law, fault, shifted):
    result = judged(law, batches(fault, shifted))
    assert result.verdict is Verdict.BROKEN, result
    assert result.evidence.saw


def test_a_loss_over_every_token_is_a_convention():
    def everything(messages, fault):
        ids, _ = render(messages)
        return ids, [True] * len(ids)

    verdicts = {law: judged(law, batches(render=everything)).verdict for law in LAWS}
    assert verdicts["data/chat-leaves-questions"] is Verdict.NOT_APPLICABLE
    assert verdicts["data/chat-leaves-results"] is Verdict.NOT_APPLICABLE
    assert Verdict.BROKEN not in verdicts.values()


def test_learning_the_last_answer_only_is_a_convention():
    def last(messages, fault):
        ids, learned = render(messages)
        start = len(render(messages[:-1])[0])
        return ids, [flag and i >= start for i, flag in enumerate(learned)]

    assert {judged(law, batches(render=last)).verdict for law in LAWS} == {Verdict.HOLDS}


def test_rows_may_be_cut_from_one_stream():
    def chats(conversations):
        pairs = [pair for messages in conversations for pair in zip(*render(messages), strict=True)]
        ids, labels = [i for i, _ in pairs], [i if flag else -100 for i, flag in pairs]
        end = (len(ids) - 1) // 96 * 96
        return [(torch.tensor(ids[:end]).view(-1, 96), torch.tensor(labels[1 : end + 1]).view(-1, 96))]

    assert {judged(law, chats).verdict for law in LAWS} == {Verdict.HOLDS}


def test_conversations_without_tools_are_enough():
    def toolless(messages, fault):
        if any(message["role"] == "tool" or "tool_calls" in message for message in messages):
            raise KeyError("tool")
        return render(messages)

    result = judged("data/chat-leaves-results", batches(render=toolless))
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "tools" in result.reason
    assert judged("data/chat-learns-answers", batches(render=toolless)).verdict is Verdict.HOLDS


def test_a_crash_of_the_renderer_is_the_owners():
    def crashing(messages, fault):
        raise KeyError("content")

    assert judged("data/chat-learns-answers", batches(render=crashing)).verdict is Verdict.CRASHED


def test_a_tokenizer_that_knows_no_digits_is_not_judged():
    class Letters(Bytes):
        def encode(self, text):
            return [i for i in text.encode() if chr(i).isalpha()]

    result = judged("data/chat-learns-answers", batches(), Letters())
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "digits" in result.reason
