"""What came out of an examination: a result for each law, and what to do about all of them together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from trueformer.laws.law import Evidence, Law, Verdict

BAD = (Verdict.BROKEN, Verdict.ADVICE, Verdict.CRASHED, Verdict.TIMED_OUT)


class LawBroken(AssertionError):
    """At least one law is broken; the message lists which, with what was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One law's verdict; `reason` says why it does not apply, what to supply, or how the code under test failed.

    `at` is the file and line of the code under test where it failed, such as `/home/me/mymodel.py:31`.
    """

    law: Law
    verdict: Verdict
    evidence: Evidence | None = None
    reason: str = ""
    at: str = ""
    seconds: float = 0.0

    @property
    def fails(self) -> bool:
        """Whether the subject is at fault; advice never is one."""
        return self.verdict in BAD and not self.law.advice

    @property
    def line(self) -> str:
        """Verdict and numbers on one line."""
        parts = [f"{self.law.id} {self.verdict}"]
        if self.evidence is not None:
            parts.append(f"measured {measured(self.evidence)}")
            parts.append(f"at {self.evidence.where}" if self.evidence.where else "")
            parts.append(self.evidence.saw)
        return ": ".join(part for part in [*parts, self.reason] if part)


def measured(evidence: Evidence) -> str:
    """`0.31, at most 1e-05`."""
    side = "at least" if evidence.at_least else "at most"
    unit = f" {evidence.unit}" if evidence.unit else ""
    return f"{number(evidence.measured)}{unit}, expected {side} {number(evidence.bound)}"


def number(value: int | float) -> str:
    """A number as people read it: `0.31`, `1e-05`, `1104`."""
    value = float(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All results, in the book's order, and how the subject was named."""

    subject: str
    results: tuple[Result, ...]
    seconds: float = 0.0
    command: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def broken(self) -> tuple[Result, ...]:
        """The results in which the subject is at fault: laws broken first, crashes after them."""
        return tuple(
            sorted((r for r in self.results if r.fails), key=lambda r: r.verdict is not Verdict.BROKEN)
        )

    @property
    def advice(self) -> tuple[Result, ...]:
        """What is not wrong but better otherwise."""
        return tuple(r for r in self.results if r.verdict in BAD and r.law.advice)

    @property
    def counts(self) -> Counter[Verdict]:
        """How many laws came out which way."""
        return Counter(result.verdict for result in self.results)

    @property
    def exit_status(self) -> int:
        """0: nothing broken; 1: something is; 2: no law could be run."""
        judged = sum(self.counts[v] for v in (Verdict.HOLDS, Verdict.BROKEN, Verdict.ADVICE))
        return 2 if not judged else int(bool(self.broken))

    def raise_if_broken(self) -> None:
        """Does nothing where every law holds.

        Raises:
            LawBroken: names each broken law with what was measured.
        """
        if self.broken:
            lines = "\n".join(f"  {result.line}" for result in self.broken)
            raise LawBroken(f"{self.subject} breaks {_laws(len(self.broken))}:\n{lines}")


def _laws(n: int) -> str:
    return f"{n} law" if n == 1 else f"{n} laws"


def by_component(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The results under the component each speaks of, in order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.law.component, []).append(result)
    return groups
