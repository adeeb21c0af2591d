"""What is trained of a conversation: the assistant's words and the end of its turns, in both layouts."""

import random
import string

from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.chat_layout import CHATML, OURS
from trueformer.tokenization.conversations import Conversation, assistant, user


def probe(pick: random.Random) -> None:
    """Renders random words and compares with the layout, written out."""
    plain = train_characters([string.ascii_lowercase + "\n"])
    said = ["".join(pick.choices(string.ascii_lowercase, k=pick.randrange(1, 8))) for _ in range(4)]
    talk = Conversation.of(user(said[0]), assistant(said[1]), user(said[2]), assistant(said[3]))
    for layout, front in ((OURS, True), (CHATML, False)):
        words = plain.extended(layout.tokens)
        ids, trained = ([words.bos_id], [False]) if front else ([], [])
        for place, text in enumerate(said):
            role = ("user", "assistant")[place % 2]
            opening = [words.special_ids[layout.role_token[role]], *words.encode(layout.heading[role])]
            after = words.encode(layout.after)
            spoken = words.encode(text)
            ids += [*opening, *spoken, words.special_ids[layout.end], *after]
            trained += [False] * len(opening) + [place % 2 == 1] * (len(spoken) + 1) + [False] * len(after)
        rendered = MarkedFormat(words, layout).render(talk)
        assert list(rendered.ids) == ids
        assert [bool(flag) for flag in rendered.trained] == trained
