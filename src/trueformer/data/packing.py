"""Best fit decreasing: things of given lengths into rows of one capacity, none of them cut.

The longest go first, each into the fullest row that still has room; that wastes little, and how many rows
come out depends on the lengths alone, not on the order of equal ones (Johnson et al. 1974, "Worst-case
performance bounds for simple one-dimensional packing algorithms"; for training: arXiv 2404.10830).
"""

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of indices into `lengths`; the lengths in a row come to at most `capacity`.

    Things of one length are taken in the order given. Example: best_fit([3, 5, 2, 4], 7) is [[1, 2], [3, 0]].

    Raises:
        ValueError: a length is below 1 or above `capacity`.
    """
    rows: list[list[int]] = []
    room: list[int] = []  # in ascending order, the room left in open rows ...
    rows_with: dict[int, list[int]] = {}  # ... and which rows have it
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if not 1 <= length <= capacity:
            raise ValueError(f"length {index} is {length}: expected 1 to {capacity}, the room in a row")
        place = bisect_left(room, length)
        if place == len(room):
            row, left = len(rows), capacity
            rows.append([])
        else:
            left = room[place]
            row = rows_with[left].pop()
            if not rows_with[left]:
                del rows_with[left], room[place]
        rows[row].append(index)
        if left > length:
            _open(room, rows_with, left - length, row)
    return rows


def _open(room: list[int], rows_with: dict[int, list[int]], left: int, row: int) -> None:
    if left not in rows_with:
        insort(room, left)
        rows_with[left] = []
    rows_with[left].append(row)
