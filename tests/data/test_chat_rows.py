"""Rows of whole conversations: shifted targets under the mask, no neighbour seen, nothing lost or starved."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.chat_rows import PADDING, ChatLoader, ChatSet, chat_validation_batches
from trueformer.data.loader import IGNORE
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, system, user

CHAT = MarkedFormat(
    train_bpe(["the quick brown fox jumps over the lazy dog"], 280).extended([*OURS.tokens, *TOOL_TOKENS]),
    OURS,
)


def said(n: int) -> Conversation:
    """A conversation of its own length, with a tool in it now and then."""
    use = (ToolCall("c", "a" * (n % 5)), ToolResult("zz")) if n % 3 == 0 else ()
    return Conversation.of(
        user("q" * (n % 7 + 1)), assistant("r" * (n % 11 + 1), *use), user("x"), assistant("y")
    )


def chats(n: int, seq_len: int = 64) -> ChatSet:
    return ChatSet([said(i) for i in range(n)], CHAT, seq_len)


def documents(batch):
    """Every conversation of a batch: its inputs and targets."""
    for inputs, targets, numbers in zip(*batch, strict=True):
        for number in numbers.unique().tolist():
            if number != PADDING:
                yield inputs[numbers == number].tolist(), targets[numbers == number].tolist()


def test_n3_n7_targets_are_the_next_tokens_and_only_where_the_assistant_writes():
    wanted = [CHAT.render(said(i)) for i in range(9)]
    found = [pair for batch in chat_validation_batches(chats(9), batch_size=2) for pair in documents(batch)]
    assert len(found) == 9
    for rendered in wanted:
        targets = [
            token if trained else IGNORE
            for token, trained in zip(rendered.ids[1:], rendered.trained[1:], strict=True)
        ]
        found.remove((rendered.ids[:-1], targets))
    assert not found


def test_t5_padding_is_never_a_target():
    for batch in chat_validation_batches(chats(5), batch_size=4):
        assert (batch.targets_BT[batch.document_BT == PADDING] == IGNORE).all()
        assert batch.targets_BT.dtype == torch.int64


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), batch_size=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_epoch_holds_every_conversation_once_and_another_order_the_next_time(n, batch_size, seed):
    data = chats(n)
    loader = ChatLoader(data, batch_size=1, seed=seed)
    epochs = [[next(loader) for _ in range(loader.n_rows)] for _ in range(2)]
    assert loader.state_dict() == {"seed": seed, "epoch": 2, "cursor": 0}
    contents = [sorted(pair for batch in epoch for pair in documents(batch)) for epoch in epochs]
    assert contents[0] == contents[1]
    assert len(contents[0]) == n
    larger = ChatLoader(data, batch_size=batch_size, seed=seed)
    rows = torch.cat([next(larger).inputs_BT for _ in range(4)])
    ones = ChatLoader(data, batch_size=1, seed=seed)
    assert torch.equal(rows, torch.cat([next(ones).inputs_BT for _ in range(4 * batch_size)]))


@settings(max_examples=20, deadline=None)
@given(stop=st.integers(0, 20), batch_size=st.integers(1, 4))
def test_a_resumed_loader_goes_on_with_the_same_rows(stop, batch_size):
    data = chats(12)
    straight, first = (ChatLoader(data, batch_size=batch_size, seed=3) for _ in range(2))
    for _ in range(stop):
        next(straight)
        next(first)
    resumed = ChatLoader(data, batch_size=batch_size, seed=99)
    resumed.load_state_dict(first.state_dict())
    for _ in range(5):
        assert torch.equal(next(straight).inputs_BT, next(resumed).inputs_BT)


def test_ranks_get_disjoint_rows_of_one_order():
    data = chats(12)
    one = ChatLoader(data, batch_size=4, seed=1)
    two = [ChatLoader(data, batch_size=2, seed=1, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(5):
        assert torch.equal(next(one).inputs_BT, torch.cat([next(part).inputs_BT for part in two]))


def test_a_conversation_in_a_row_is_predicted_as_alone():
    """No cross-attention: packed neighbours change no logit."""
    torch.manual_seed(0)
    config = DecoderConfig(
        vocab_size=CHAT.tokenizer.vocab_size,
        max_len=64,
        d_model=32,
        n_layers=2,
        n_heads=2,
        positions="learned",
    )
    model = DecoderLM(config).eval()
    for batch in chat_validation_batches(chats(6), batch_size=2):
        packed_BTV = model(batch.inputs_BT, document_BT=batch.document_BT)
        for row in range(2):
            for number in set(batch.document_BT[row].tolist()) - {PADDING}:
                place = batch.document_BT[row] == number
                alone = model(batch.inputs_BT[row, place][None])[0]
                torch.testing.assert_close(packed_BTV[row, place], alone, atol=2e-6, rtol=1e-5)


def test_too_long_ones_are_cut_between_messages_or_left_out_and_counted():
    long = Conversation.of(user("a"), assistant("b"), user("c"), assistant("d" * 500), user("e"))
    hopeless = Conversation.of(user("a" * 500), assistant("b"))
    silent = Conversation.of(system("s"), user("a"))
    data = ChatSet([long, hopeless, silent, said(1)], CHAT, 48)
    counts = data.counts
    assert (counts.conversations, counts.cut, counts.too_long, counts.untrained) == (2, 1, 1, 1)
    found = [pair for batch in chat_validation_batches(data, batch_size=1) for pair in documents(batch)]
    cut = CHAT.render(Conversation(long.messages[:2]))
    assert cut.ids[:-1] in [inputs for inputs, _ in found]
    assert str(counts).endswith(
        "1 cut to the messages that fit; 1 left out, too long for a row; "
        "1 left out, nothing of the assistant in them"
    )


@pytest.mark.parametrize("conversations", [[], [Conversation.of(user("a"))]])
def test_a_set_with_nothing_to_learn_is_an_error(conversations):
    with pytest.raises(ValueError, match="there is nothing to learn"):
        ChatSet(conversations, CHAT, 48)


def test_the_fingerprint_tells_tokens_and_masks_apart():
    asked, reversed_roles = (
        Conversation.of(user("a"), assistant("b")),
        Conversation.of(user("b"), assistant("a")),
    )
    prints = {ChatSet([c], CHAT, 48).fingerprint for c in (asked, reversed_roles)}
    assert len(prints) == 2
    assert ChatSet([asked], CHAT, 48).fingerprint in prints


def test_a_place_beyond_the_data_is_refused():
    loader = ChatLoader(chats(3), batch_size=1, seed=0)
    with pytest.raises(ValueError, match="expected a cursor from 0"):
        loader.load_state_dict({"seed": 0, "epoch": 0, "cursor": 10**6})
