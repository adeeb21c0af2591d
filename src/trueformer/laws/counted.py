"""Evidence that is a count of faults, of which there may be none."""

from collections.abc import Sequence

from trueformer.laws.law import Evidence


def none_of(faults: int, *, unit: str = "", where: str = "", saw: str = "") -> Evidence:
    """Evidence that holds where there are no faults; `saw` is kept only where there are."""
    return Evidence(
        measured=float(faults),
        bound=0.0,
        unit=unit,
        where=where if faults else "",
        saw=saw[:300] if faults else "",
    )


def evidence_of(faults: Sequence[str], *, unit: str = "") -> Evidence:
    """Evidence from a sentence about each fault, of which the first is shown."""
    return none_of(len(faults), unit=unit, saw=faults[0] if faults else "")
