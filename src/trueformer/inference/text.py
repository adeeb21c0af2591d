"""Text in, text out: prompts continued, whole or as a stream, until a stop string, the end token or a limit.

Text is shown only when it is certain: never half a character, never the beginning of a stop string, nothing
after one. The tokenizer decides about BOS, and both EOS and the BOS of a next document end a text. Leaves out
chat templates (`chat.py`).

    complete(loaded.model, loaded.tokenizer, ["To be"], SamplingConfig(seed=1), max_new_tokens=50)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import Decoding, Reason
from trueformer.inference.steps import Steps
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.protocol import Tokenizer
from trueformer.tokenization.stream import TextStream


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One prompt's continuation: `ids` are all tokens made, among them those of a stop string not shown."""

    text: str
    ids: list[int]
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """More of one row's text, possibly empty at its end, and why the row ends, if it does."""

    row: int
    text: str
    reason: Reason | None


def complete(
    model: DecoderLM | Steps,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: SamplingConfig | Sequence[SamplingConfig] = SamplingConfig(),  # noqa: B008 - frozen
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    bos: bool | None = None,
    allow_special: bool = False,
) -> list[Completion]:
    """The continuation of each prompt, in order; arguments and errors as for `TextDecoding`."""
    decoding = TextDecoding(
        model,
        tokenizer,
        prompts,
        sampling,
        max_new_tokens=max_new_tokens,
        stop=stop,
        bos=bos,
        allow_special=allow_special,
    )
    texts = [""] * len(prompts)
    for piece in decoding:
        texts[piece.row] += piece.text
    results = decoding.tokens.results()
    return [
        Completion(text=text, ids=result.ids, reason=result.reason)
        for text, result in zip(texts, results, strict=True)
    ]


class TextDecoding:
    """Iterate for `Piece`s of text as they become certain; a wrong request is refused at construction.

    `stop`: strings that end a row, found in its new text wherever tokens happen to be cut. `bos`: whether BOS
    goes in front; None: as the tokenizer has it. `allow_special`: read "<|eos|>" in a prompt as the token.

    Raises:
        ValueError: an empty stop string, a tokenizer with more ids than the model, or as `Decoding` has it.
    """

    def __init__(
        self,
        model: DecoderLM | Steps,
        tokenizer: Tokenizer,
        prompts: Sequence[str],
        sampling: SamplingConfig | Sequence[SamplingConfig] = SamplingConfig(),  # noqa: B008 - frozen
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        bos: bool | None = None,
        allow_special: bool = False,
    ) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} ids and the model {model.config.vocab_size}: "
                "expected no more than the model's; use the tokenizer saved with the model"
            )
        bos = getattr(tokenizer, "adds_bos", True) if bos is None else bos
        ids = tokenizer.encode(list(prompts), bos=bos, allow_special=allow_special)
        self._stops = [StopStrings(stop) for _ in prompts]
        self._streams = [TextStream(tokenizer) for _ in prompts]
        self.tokens = Decoding(
            model, ids, sampling, max_new_tokens=max_new_tokens, stop_ids={tokenizer.eos_id, tokenizer.bos_id}
        )

    def __iter__(self) -> Iterator[Piece]:
        while not self.tokens.done:
            for event in self.tokens.step():
                piece = self._piece(event.row, event.token, event.reason)
                if piece.text or piece.reason:
                    yield piece

    def _piece(self, row: int, token: int | None, reason: Reason | None) -> Piece:
        stream, stops = self._streams[row], self._stops[row]
        text = "" if token is None else stops.push(stream.push(token))
        if reason is not None and not stops.found:
            text += stops.push(stream.finish())
            text += stops.finish()
        if stops.found:
            self.tokens.finish(row)
            reason = "stop"
        return Piece(row=row, text=text, reason=reason)


class StopStrings:
    """Lets text through up to the first stop string; what may yet become one waits.

    The first is the one complete first, and of several complete at the same character the longest, whatever
    pieces the text comes in. Example: with ["END"], pushing "a E", "N", "x" lets through "a ", "", "ENx".

    Raises:
        ValueError: a stop string is empty: it would end every text before its first character.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise ValueError("a stop string is empty: expected at least one character; leave it out instead")
        self._stops, self._waiting, self.found = list(stops), "", False

    def push(self, text: str) -> str:
        """What can be shown now that `text` has come; nothing once a stop string was found."""
        if self.found:
            return ""
        text = self._waiting + text
        matches = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if matches:
            self.found, self._waiting = True, ""
            return text[: min(matches)[1]]
        shown = len(text) - self._may_become_a_stop(text)
        self._waiting = text[shown:]
        return text[:shown]

    def finish(self) -> str:
        """What still waits, at the end of the text: it became no stop string."""
        waiting, self._waiting = self._waiting, ""
        return waiting

    def _may_become_a_stop(self, text: str) -> int:
        """The length of the longest end of `text` that is the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
