"""Words from the code under test, made safe to print: no control characters, no half characters."""

import unicodedata


def printable(text: str) -> str:
    """The text with control characters and lone surrogates written as escapes; line ends and tabs stay.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(_escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    # Cc: controls; Cs: halves of a pair; Bidi controls (in Cf) turn a line around. U+FFFE and U+FFFF are not XML.
    hidden = (
        unicodedata.category(letter) in ("Cc", "Cs") or letter in "\u202a\u202b\u202c\u202d\u202e\ufffe\uffff"
    )
    if letter in "\n\t" or not hidden:
        return letter
    return letter.encode("unicode_escape").decode()
