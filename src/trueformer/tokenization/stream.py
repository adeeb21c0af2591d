"""Ids to text one at a time, never half a character: what a chat window prints as a model writes."""

import codecs

from trueformer.tokenization.protocol import Tokenizer


class TextStream:
    """Turns ids into text as they come; bytes of an unfinished character wait for the rest.

    The pieces joined equal `tokenizer.decode` of all the ids. Example: `stream.push(id) … stream.finish()`.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that `token` completes: "" while a character is unfinished."""
        return self._decoder.decode(self._tokenizer.piece(token, skip_special=self._skip_special))

    def finish(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, otherwise "". Starts afresh."""
        return self._decoder.decode(b"", final=True)
