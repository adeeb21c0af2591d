"""Spelling: right, of words common and made up, each of which is trained on or asked, never both."""

import re

import pytest

from trueformer.data.chats.spelling import COMMON, Spelling


def test_spelling_is_right_and_counts_are() -> None:
    common = set(COMMON.split())
    assert len(common) == len(COMMON.split()) > 300
    taught, seen = set(), set()
    for conversation in Spelling(size=3000).train():
        asked, reply = conversation.messages
        spelled, _, count = reply.text.partition(": ")
        word = spelled.replace("-", "")
        taught.add(word)
        assert spelled == "-".join(word)
        assert re.search(rf"\b{word}\b", asked.text)
        if count:
            (letter,) = re.findall(r"\b(?:many|letter) (.)\b", asked.text)
            assert count == str(sum(each == letter for each in word))
            seen.add(count)
    assert {"0", "1", "2", "3"} <= seen
    assert taught & common
    assert taught - common
    asked = {re.findall("[a-z]+", question.prompt.messages[0].text)[-1] for question in Spelling().held_out()}
    assert asked & common
    assert not asked & taught


def test_a_spelling_is_graded_whole_and_a_count_at_the_end() -> None:
    task = Spelling()
    assert task.correct("S-P-E-L-L.", "s-p-e-l-l")
    assert not task.correct("s-p-e-l", "s-p-e-l-l")
    assert task.correct("b-e-e: 2", "2")
    assert not task.correct("b-e-e", "2")
    with pytest.raises(ValueError, match="spelling of 1 conversations and -1 questions"):
        Spelling(size=1, questions=-1)
