"""A tool's result stands between its two marks, behind the call, in conversations and where the program puts it in."""

import random
import string

from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat, result_ids
from trueformer.tokenization.chat_layout import CHATML, OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user


def probe(pick: random.Random) -> None:
    """Random words in both layouts, with one call or two, against the order written out."""
    plain = train_characters([string.ascii_lowercase + "\n "])
    said = ["".join(pick.choices(string.ascii_lowercase, k=pick.randrange(1, 8))) for _ in range(6)]
    calls = [said[1:3], said[3:5]][: pick.randrange(1, 3)]
    parts = [part for asked, found in calls for part in (ToolCall("find", asked), ToolResult(found))]
    for layout in (OURS, CHATML):
        words = plain.extended([*layout.tokens, *TOOL_TOKENS])
        chat, marks = MarkedFormat(words, layout), [words.special_ids[name] for name in TOOL_TOKENS]
        wanted, learned = [], []
        for asked, found in calls:
            call = [marks[0], *words.encode(f"find {asked}"), marks[1]]
            result = [marks[2], *words.encode(found), marks[3]]
            assert chat.tools is not None
            assert list(result_ids(words, chat.tools, found)) == result
            wanted += call + result
            learned += [True] * len(call) + [False] * len(result)
        open_ended = Conversation.of(user(said[0]), assistant(*parts))
        assert chat.prompt(open_ended)[-len(wanted) :] == wanted
        rendered = chat.render(Conversation.of(user(said[0]), assistant(*parts, said[5])))
        start = rendered.ids.index(marks[0])
        assert rendered.ids[start : start + len(wanted)] == wanted
        assert [bool(flag) for flag in rendered.trained[start : start + len(wanted)]] == learned
