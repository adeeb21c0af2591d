"""What a law is, what its probe returns, and the book in which every law stands once.

A law is an executable statement of what must hold. Its probe gets a Subject and returns Evidence; it never
guesses: where it cannot tell, it raises `subject.errors.NotApplicable`. Leaves out running them: `doctor/runner.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Probe = Callable[..., "Evidence"]


class Verdict(StrEnum):
    """What came out of a law; `CRASHED` is an error in the code under test."""

    HOLDS = "holds"
    BROKEN = "broken"
    NOT_APPLICABLE = "not applicable"
    NOT_CHECKED = "not checked"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Data to draw: a matrix (rows of numbers), or lines (name to numbers) over `x`."""

    kind: Literal["matrix", "lines"]
    title: str
    x_label: str = ""
    y_label: str = ""
    matrix: tuple[tuple[float, ...], ...] = ()
    lines: dict[str, tuple[float, ...]] = field(default_factory=dict)
    log: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The number that was measured, the bound it must keep, the place, and what was seen in one sentence.

    A number that is not finite breaks every bound.
    """

    measured: int | float
    bound: int | float
    at_least: bool = False
    unit: str = ""
    where: str = ""
    saw: str = ""
    figure: Figure | None = None

    @property
    def holds(self) -> bool:
        """Whether the number keeps the bound."""
        if self.at_least:
            return self.measured >= self.bound
        return self.measured <= self.bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """One law, as `trueformer explain` prints it; `probe` is None where source or a live run is what is judged."""

    id: str
    statement: str
    source: str
    looks: str
    tolerance: str
    symptoms: str
    causes: str
    needs: tuple[str, ...] = ()
    lesson: str = ""
    advice: bool = False
    deep: bool = False
    probe: Probe | None = None

    @property
    def component(self) -> str:
        """What is at fault when it breaks: `attention` of `attention/causal`."""
        return self.id.split("/")[0]


BOOK: dict[str, Law] = {}


def law(id: str, **says: Any) -> Callable[[Probe], Probe]:
    """Writes the decorated probe into the book; its docstring is the lesson, with a worked example.

    Raises:
        ValueError: the id is taken.
    """

    def enter(probe: Probe) -> Probe:
        write(Law(id=id, lesson=probe.__doc__ or "", probe=probe, **says))
        return probe

    return enter


def write(law: Law) -> Law:
    """Writes a law into the book.

    Raises:
        ValueError: the id is taken.
    """
    if law.id in BOOK:
        raise ValueError(f"the law {law.id} is written twice: expected ids that differ")
    BOOK[law.id] = law
    return law
