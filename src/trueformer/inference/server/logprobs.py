"""Log-probabilities of a reply's tokens in OpenAI's two forms: a list of objects, or lists side by side.

A token may be part of a character: its text is then U+FFFD, and `bytes` (chat) says what it is, or the text
spells its bytes (completions, where texts are keys). Leaves out where they come from (`engine.py`).
"""

from collections.abc import Sequence
from typing import Any

from trueformer.inference.engine.request import Token
from trueformer.tokenization.protocol import Tokenizer
from trueformer.tokenization.stream import TextStream

LOWEST = -9999.0  # JSON has no infinity; OpenAI's own stand-in


class ChatLogprobs:
    """Makes `logprobs` of a chat's choice."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of(self, tokens: Sequence[Token]) -> dict[str, Any]:
        """Those of these tokens. Example: {"content": [{"token": "It", "logprob": -0.1, …}], …}."""
        content = [
            self._one(token.id, token.logprob)
            | {"top_logprobs": [self._one(other, logprob) for other, logprob in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _one(self, token: int, logprob: float | None) -> dict[str, Any]:
        raw = _bytes(self._tokenizer, token)
        return {"token": raw.decode(errors="replace"), "logprob": _finite(logprob), "bytes": list(raw)}


class TextLogprobs:
    """Makes `logprobs` of a completion's choice, whose tokens come in order."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._stream, self._offset = tokenizer, TextStream(tokenizer), 0

    def of(self, tokens: Sequence[Token]) -> dict[str, Any]:
        """Those of these tokens; `text_offset` says where in the choice's text each begins."""
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._stream.push(token.id))
        return {
            "tokens": [self._name(token.id) for token in tokens],
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": [
                {self._name(i): _finite(logprob) for i, logprob in token.top} for token in tokens
            ],
            "text_offset": offsets,
        }

    def _name(self, token: int) -> str:
        raw = _bytes(self._tokenizer, token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """What the token stands for; specials by their names, rows of the model without a token by nothing."""
    return tokenizer.piece(token, skip_special=False) if token < tokenizer.vocab_size else b""


def _finite(logprob: float | None) -> float:
    return LOWEST if logprob is None else max(logprob, LOWEST)
