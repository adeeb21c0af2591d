"""The conversation under way and its settings: what is asked of the model, kept, undone and begun anew.

    session = Session(service, Settings(seed=1))
    request = session.ask("Hello")        # for the engine
    session.keep(parts, stopped=False)    # what came back

A message may be without a reply, where none came: the next `retry` asks again. Leaves out the engine, files
(`files.py`) and everything that is seen.
"""

import random
from collections.abc import Sequence
from itertools import dropwhile

from trueformer.inference.engine.request import Request
from trueformer.inference.service import Service
from trueformer.inference.terminal.settings import Settings
from trueformer.tokenization.conversations import Conversation, Message, Part, Text, system, user

STOPPED = "…"  # stands behind a reply that the user stopped, also where it is saved
SEEDS = 2**32


class Session:
    """One conversation at a time; `turns` are its messages without the system's.

    Raises:
        ValueError: the model knows no chat.
    """

    def __init__(self, service: Service, settings: Settings, *, system: str = "") -> None:
        if service.chat is None:
            raise ValueError(
                "the model was not taught to converse: expected one with chat tokens or a chat template. "
                "`trueformer finetune` teaches it; `trueformer generate` goes on from a text as it is"
            )
        self.service, self.settings, self.system = service, settings, system
        self.turns: tuple[Message, ...] = ()
        self.last_seed: int | None = None  # of the last reply
        self._retries = 0

    def conversation(self) -> Conversation:
        """All of it.

        Raises:
            ValueError: nothing was said yet.
        """
        if not self.turns:
            raise ValueError("nothing was said yet: write a message first")
        return self._with_system(self.turns)

    def ask(self, text: str) -> Request:
        """Say this; what the model is to answer.

        Raises:
            ValueError: it does not fit the context or the model's template; nothing is said then.
        """
        turns = (*self.turns, user(text))
        request = self._request(turns, retries=0)
        self.turns, self._retries = turns, 0
        return request

    def retry(self) -> Request:
        """Take back the last reply, if there is one, and ask again with another seed.

        Raises:
            ValueError: there is no message to answer, or the reply could only be the same.
        """
        turns = _up_to_user(self.turns)
        if not turns:
            raise ValueError("there is no message to answer again: write one first")
        if len(turns) < len(self.turns) and self.settings.temperature == 0:
            raise ValueError("at temperature 0 the reply would be the same: /set temperature 0.8 first")
        request = self._request(turns, self._retries + 1)
        self.turns, self._retries = turns, self._retries + 1
        return request

    def keep(self, parts: Sequence[Part], *, stopped: bool) -> bool:
        """Keep the model's reply, unless it is empty; returns whether it is marked as stopped."""
        if not parts:
            return False
        self.turns = (*self.turns, Message("assistant", _marked(parts) if stopped else tuple(parts)))
        return stopped

    def undo(self) -> str:
        """Take back the last message and its reply; returns the message.

        Raises:
            ValueError: there is none.
        """
        turns = _up_to_user(self.turns)
        if not turns:
            raise ValueError("there is nothing to undo: the conversation is empty")
        self.turns = turns[:-1]
        return turns[-1].text

    def reset(self, *, system: str | None = None) -> None:
        """Begin anew, with another system message if one is given ("": with none)."""
        self.system = self.system if system is None else system
        self.turns = ()

    def resume(self, conversation: Conversation) -> None:
        """Go on from a conversation of another time.

        Raises:
            ValueError: it does not fit the context or the model's template; all stays as it was.
        """
        self._prompt(conversation)
        first = conversation.messages[0]
        has_system = first.role == "system"
        self.system = first.text if has_system else ""
        self.turns = conversation.messages[has_system:]

    def _request(self, turns: tuple[Message, ...], retries: int) -> Request:
        seed = self.settings.seed
        seed = random.SystemRandom().randrange(SEEDS) if seed is None else (seed + retries) % 2**63
        conversation = self._with_system(turns)
        self._prompt(conversation)
        request = self.service.chat_request(
            conversation, self.settings.sampling(seed), max_new_tokens=self.settings.max_tokens
        )
        self.last_seed = seed
        return request

    def _with_system(self, turns: tuple[Message, ...]) -> Conversation:
        return Conversation(((system(self.system),) if self.system else ()) + turns)

    def _prompt(self, conversation: Conversation) -> None:
        """Raise ValueError for a conversation that leaves no room for a reply."""
        assert self.service.chat is not None
        room, n_tokens = self.service.context_length, len(self.service.chat.prompt(conversation))
        if n_tokens >= room:
            raise ValueError(
                f"the conversation would have {n_tokens} tokens and the context has room for {room}: "
                "not sent. Shorten the message, /undo an exchange, or /reset"
            )


def _up_to_user(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns up to the user's last message, that included."""
    return tuple(dropwhile(lambda turn: turn.role != "user", reversed(turns)))[::-1]


def _marked(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts with the mark behind them, in the last text where they end in one."""
    last = parts[-1]
    if isinstance(last, Text):
        return (*parts[:-1], Text(last.text + STOPPED))
    return (*parts, Text(STOPPED))
