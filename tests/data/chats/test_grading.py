"""Replies compared with answers: numbers as people write them, words but for their dress."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.chats.grading import any_of, is_one_of, last_number, plain, same_words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 9716.", "9716"),
        ("it is $1,250.00.", "1250"),
        ("-$5", "-5"),
        ("minus -7.50 degrees", "-7.5"),
        ("10-4", "4"),
        ("(3)-4", "4"),
        (".5 of it", "0.5"),
        ("007", "7"),
        ("-0.0", "0"),
        ("1, 2, 3", "3"),
        ("x=12", "12"),
        ("9" * 100_000, "9" * 100_000),
        ("٣", None),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number_plainly(text: str, number: str | None) -> None:
    assert last_number(text) == number


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_the_same_however_it_is_spelled(number: object) -> None:
    bare = plain(str(number))
    assert plain(f"{number:,}") == plain(f"{number}00") == bare
    assert float(bare) == float(str(number))
    assert plain(bare) == bare


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_reply_can_be_read(text: str) -> None:
    number = last_number(text)
    assert number is None or plain(number) == number


def test_words_are_the_same_but_for_case_spaces_and_the_last_mark() -> None:
    assert same_words(" The  Soviet Union.", "the soviet\nunion")
    assert not same_words("the soviet union", "soviet union")


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_each_of_several_answers_is_right(answers: list[str]) -> None:
    assert all(is_one_of(each, any_of(answers)) for each in answers)
    assert not is_one_of("something else", any_of(answers))
