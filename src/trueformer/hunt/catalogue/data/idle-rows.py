"""A row holds a conversation up to the last reply that fits; what has no such reply is left out and counted."""

import random
import string

from trueformer.data.chat_rows import ChatSet
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, assistant, user


def probe(pick: random.Random) -> None:
    """Gives random conversations, with two marks a turn and one in front, and counts by hand."""
    words = train_characters([string.ascii_lowercase]).extended(OURS.tokens)
    length = pick.randrange(20, 50)
    chats, kept, counts = [], [], {"cut": 0, "too_long": 0}
    sizes = [
        [5, 5],
        [3, length],
        [length + pick.randrange(9), 2],
        [4, 5, 3, length],
        [2, 3, length, 4],
        [4, 4, 1, 2],
    ]
    sizes += [[pick.randrange(1, 15) for _ in range(pick.choice([2, 4, 6]))] for _ in range(12)]
    for size in sizes:
        said = ["".join(pick.choices(string.ascii_lowercase, k=n)) for n in size]
        chats.append(Conversation.of(*((user, assistant)[n % 2](text) for n, text in enumerate(said))))
        ends = [1 + sum(size[: n + 1]) + 2 * (n + 1) for n in range(1, len(size), 2)]
        fitting = [end for end in ends if end - 1 <= length]
        counts["cut"] += bool(fitting) and len(fitting) < len(ends)
        counts["too_long"] += not fitting
        if fitting:
            learned = [
                i
                for text in said[1 : 2 * len(fitting) : 2]
                for i in (*words.encode(text), words.special_ids[OURS.end])
            ]
            kept.append((fitting[-1] - 1, learned))
    made = ChatSet(chats, MarkedFormat(words, OURS), length)
    assert list(made.lengths) == [places for places, _ in kept]
    for number, (places, learned) in enumerate(kept):
        batch = made.batch([[number]])
        targets = batch.targets_BT[0].tolist()
        assert [i for i in targets if i >= 0] == learned
        assert batch.inputs_BT[0].tolist()[places:] == [words.pad_id] * (length - places)
    assert (made.counts.conversations, made.counts.cut, made.counts.too_long) == (
        len(kept), counts["cut"], counts["too_long"],
    )  # fmt: skip
