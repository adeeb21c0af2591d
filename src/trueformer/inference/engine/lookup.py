"""Prompt look-up: guess the next tokens from an earlier place where the last few stood (Saxena 2023).

Texts repeat themselves: a quoted passage, a list, code. A guess costs next to nothing, since several tokens
pass through the model in the time of one, and a wrong guess costs nothing in quality: each guessed token is
kept only if it is the one the model itself would have taken.
"""

from collections.abc import Sequence

LONGEST_MATCH = 3


def guess(ids: Sequence[int], most: int) -> list[int]:
    """Up to `most` tokens that may follow: what followed the latest earlier place of the last 3, 2 or 1.

    Example: guess([5, 6, 7, 8, 5, 6], 2) is [7, 8].
    """
    for n in range(min(LONGEST_MATCH, len(ids) - 1), 0, -1):
        last = list(ids[-n:])
        for begin in range(len(ids) - n - 1, -1, -1):
            if list(ids[begin : begin + n]) == last:
                return list(ids[begin + n : begin + n + most])
    return []
