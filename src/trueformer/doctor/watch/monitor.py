"""Takes events to the rules, keeps their verdicts, and never lets a rule's own failure reach the script.

Leaves out where events come from (`observe`) and how breaks are shown (`report`).
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch

from trueformer.doctor.watch.rule import Break, Rule
from trueformer.doctor.watch.run import Run
from trueformer.laws.law import Verdict


class Stopped(BaseException):
    """A law broke and the user asked to stop there; nothing in the script should catch it."""


class Monitor:
    """The rules of one run. `on_break` is told the first break of each law at each place in a model."""

    def __init__(
        self,
        rules: Sequence[Callable[[Run, Callable[[Break], None]], Rule]],
        run: Run,
        on_break: Callable[[Break], None],
        *,
        stop: bool = False,
    ) -> None:
        self.run = run
        self.rules = [make(run, self._tell) for make in rules]
        self.first: dict[str, Break] = {}
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self._on_break, self.stop = on_break, stop
        self._hearers: dict[str, list[Rule]] = {}

    def hear(self, event: str, *what: object) -> None:
        """Tell every rule that listens."""
        with torch.no_grad():
            for rule in self._listening(event):
                self._hear(rule, event, what)

    def _listening(self, event: str) -> list[Rule]:
        if event not in self._hearers:
            silent = getattr(Rule, event)
            self._hearers[event] = [rule for rule in self.rules if getattr(type(rule), event) is not silent]
        return self._hearers[event]

    def _hear(self, rule: Rule, event: str, what: tuple[object, ...]) -> None:
        if rule.law.id in self.failures:
            return
        try:
            getattr(rule, event)(*what)
        except Exception as error:  # noqa: BLE001 - a fault of the watch must not end the script; it is reported
            self.failures[rule.law.id] = f"{type(error).__name__}: {error}"

    def _tell(self, found: Break) -> None:
        id = found.law.id
        self.counts[id] += 1
        if id in self.first:
            return
        self.first[id] = found
        self._on_break(found)
        if self.stop and not found.law.advice:
            raise Stopped

    @property
    def broken(self) -> list[Break]:
        """The first break of every law that is more than advice, in the order they came."""
        return [found for found in self.first.values() if not found.law.advice]

    def verdict(self, rule: Rule) -> Verdict:
        """What became of a rule's law."""
        if rule.law.id in self.first:
            return Verdict.BROKEN
        if rule.law.id in self.failures:
            return Verdict.CRASHED
        return Verdict.HOLDS if rule.judged else Verdict.NOT_APPLICABLE
