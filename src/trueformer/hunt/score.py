"""Points: what is solved times the weight of its level, less what hints and time beyond the limit cost."""

from trueformer.hunt.bug import LEVELS
from trueformer.hunt.record import Record

HINT_COSTS = (0.10, 0.15, 0.20, 0.25)  # of the weight, from the first hint to the last
MINUTE_COST = 0.01  # of the weight, for each minute beyond the limit
MOST_FOR_TIME = 0.5


def points(record: Record) -> float:
    """What a hunt is worth so far: each repaired bug its share, never below zero."""
    levels = dict(zip(record.bugs, record.levels, strict=True))
    won = sum(LEVELS[levels[id]] for id in record.repaired)
    return max(0.0, won - lost(record)) if won else 0.0


def lost(record: Record) -> float:
    """What hints and time have cost so far."""
    return (sum(HINT_COSTS[: record.hints]) + overtime(record)) * most(record)


def most(record: Record) -> int:
    """What it would be worth solved at once."""
    return sum(LEVELS[level] for level in record.levels)


def overtime(record: Record) -> float:
    """The share of the weight that time beyond the limit costs."""
    if record.minutes is None:
        return 0.0
    return min(MOST_FOR_TIME, max(0.0, record.taken / 60 - record.minutes) * MINUTE_COST)
