"""How a reply is compared with an answer: by its last number, or with all answers that are right.

Numbers are compared as text without commas, dollars and needless zeros, never computed with: a reply may
hold a number of any length.
"""

import json
import re
from collections.abc import Iterable

# "-" is a sign only where it joins nothing: 10-4 ends in 4.
NUMBER = re.compile(r"(?:(?<![\w)])-)?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)")


def last_number(text: str) -> str | None:
    """The last number of a text, plainly spelled, or None: "it is $1,250.00." has "1250".

    The way lm-eval reads GSM8K's replies ("flexible extract"), which also takes the last.
    """
    found = NUMBER.findall(text)
    return plain(found[-1]) if found else None


def plain(number: str) -> str:
    """A number without commas, dollars, zeros in front or at the end: "-$007.50" is "-7.5"."""
    sign = "-" if number.startswith("-") else ""
    whole, _, fraction = re.sub(r"[-$,]", "", number).partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    text = f"{whole}.{fraction}" if fraction else whole
    return "0" if text == "0" else sign + text


def same_words(left: str, right: str) -> bool:
    """Whether two texts are the same but for case, white space and the punctuation at their end."""
    return words(left) == words(right)


def words(text: str) -> str:
    """A text without what `same_words` overlooks."""
    return " ".join(text.lower().split()).rstrip(" .!?,;:")


def any_of(answers: Iterable[str]) -> str:
    """Several right answers as one text, which `is_one_of` reads."""
    return json.dumps(list(dict.fromkeys(answers)), ensure_ascii=False)


def is_one_of(reply: str, answer: str) -> bool:
    """Whether a reply is one of the answers that `any_of` wrote, but for case, spaces and its last mark."""
    return any(same_words(reply, each) for each in json.loads(answer))
