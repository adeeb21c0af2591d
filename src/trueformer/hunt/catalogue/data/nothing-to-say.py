"""Of a conversation, the targets are what the assistant says and the end of its turn, each behind its predecessor."""

import random
import string

from trueformer.data.chat_rows import ChatSet
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, assistant, user


def probe(pick: random.Random) -> None:
    """Packs conversations of random words two and two and reads their targets."""
    words = train_characters([string.ascii_lowercase]).extended(OURS.tokens)
    end = words.special_ids[OURS.end]
    said = [
        ["".join(pick.choices(string.ascii_lowercase, k=pick.randrange(1, 8))) for _ in range(4)]
        for _ in range(6)
    ]
    chats = [Conversation.of(user(a), assistant(b), user(c), assistant(d)) for a, b, c, d in said]
    made = ChatSet(chats, MarkedFormat(words, OURS), 100)
    batch = made.batch([[0, 1], [2], [3, 4, 5]][: pick.randrange(1, 4)])
    order = [(0, 1), (2,), (3, 4, 5)]
    for row, (inputs, targets) in enumerate(
        zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    ):
        learned = [target for target in targets if target >= 0]
        wanted = [i for n in order[row] for text in said[n][1::2] for i in (*words.encode(text), end)]
        assert learned == wanted
        follows = zip(targets[:-1], inputs[1:], strict=True)
        assert all(target in (following, end) for target, following in follows if target >= 0)
