"""The mechanical mutants that the doctor should find: those that change what a foreign model computes.

`operators.py` makes them, `classify.py` says what each does. Leaves out those that raise, that change nothing, and
that give another sound model: other sizes, other first weights, another rounding.
"""

import random
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from mutants.classify import SUBJECTS, Case, classified

SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mechanical:
    """One of them, named after the file and its edit."""

    name: str
    file: str
    text: str

    def source(self, root: Path) -> str:
        """The text of the file with the bug in it."""
        return self.text


def drawn(subjects: Iterable[str], count: int, only: str = "") -> Sequence[Mechanical]:
    """So many of them, or all there are, in the order of the files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for name in subjects for case in classified(name) if case.kind == "changed"]
    found = [mutant for mutant in map(mechanical, cases) if only in mutant.name]
    chosen = sorted(random.Random(SEED).sample(range(len(found)), min(count, len(found))))
    return [found[i] for i in chosen]


def mechanical(case: Case) -> Mechanical:
    """The case as something to be examined."""
    path = SUBJECTS / f"{case.file}.py"
    name = f"{case.file}: {edit(path.read_text(encoding='utf-8'), case.source)}"
    return Mechanical(name=name, file=str(path.relative_to(SUBJECTS.parent.parent)), text=case.source)


def edit(clean: str, mutated: str) -> str:
    """What went and what came, on one line, as in `y = f(x) -> y = x`."""
    old, new = clean.splitlines(), mutated.splitlines()
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changes = [change for change in blocks if change[0] != "equal"]
    went = [line.strip() for _, a, b, _, _ in changes for line in old[a:b]]
    came = [line.strip() for _, _, _, a, b in changes for line in new[a:b]]
    return f"{' '.join(went)} -> {' '.join(came)}"
