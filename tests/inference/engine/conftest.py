"""A small model of random weights, and one taught a single conversation in which a tool is used."""

import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user

USED = (ToolCall("calculator", "6*7"), ToolResult("42"))


@pytest.fixture(scope="session")
def random_model() -> DecoderLM:
    """Weights large enough that no two logits are close, in float64: no text, drawn ones included, hangs on rounding.

    In float32 a draw falls between two tokens' shares, closer than rounding, about once in 100,000 tokens.
    """
    torch.manual_seed(1)
    shape = {"vocab_size": 97, "max_len": 128, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
    return DecoderLM(DecoderConfig(**shape, init_std=0.4)).double().eval()


@pytest.fixture(scope="session")
def chat() -> MarkedFormat:
    return MarkedFormat(
        train_bpe(["What is 6 * 7? It is 42."], 280).extended([*OURS.tokens, *TOOL_TOKENS]), OURS
    )


@pytest.fixture(scope="session")
def asked() -> Conversation:
    return Conversation.of(user("What is 6 * 7?"))


@pytest.fixture(scope="session")
def tool_model(chat, asked) -> DecoderLM:
    """Trained until it answers `asked` with the calculator and says what came out."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": chat.tokenizer.vocab_size,
        "max_len": 128,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 2,
    }
    model = DecoderLM(DecoderConfig(**shape))
    answered = Conversation.of(*asked.messages, assistant(*USED, "It is 42."))
    rendered = chat.render(answered)
    ids, trained = torch.tensor([rendered.ids]), torch.tensor(rendered.trained)
    targets = torch.where(trained[1:], ids[0, 1:], -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    return model.eval()
