"""The lesson of a law, and the table of all of them: what is in the book, in source rules and in live laws alike."""

import contextlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from trueformer.laws.book import laws, nearest
from trueformer.laws.law import BOOK, Law

ELSEWHERE = (
    "trueformer.doctor.lint.rules",
    "trueformer.doctor.watch.rules",
)  # modules that write into the book
NEEDS = {"source": "the source, which is never run", "live": "a training script"}
RUN = {"source": "trueformer lint FOLDER --select {id}", "live": "python -m trueformer.watch SCRIPT"}


def every_law() -> tuple[Law, ...]:
    """All laws: those that probe a model first, then those of source and of live runs."""
    probed = laws()
    for module in ELSEWHERE:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    others = [law for law in BOOK.values() if law.probe is None]
    return (*probed, *sorted(others, key=lambda law: law.component, reverse=True))


def explained(word: str = "") -> RenderableType:
    """The lesson of the law of that id, or the laws of that component, or, with no word, all laws.

    Raises:
        ValueError: there is no such law; the message names the nearest.
    """
    known = every_law()
    if not word:
        return Group(table(known), Text("trueformer explain LAW tells the lesson of one", "dim"))
    if word in BOOK:
        return lesson(BOOK[word])
    component = [law for law in known if law.component == word]
    if not component:
        names = [law.id for law in known] + [law.component for law in known]
        raise ValueError(f"there is no law or component {word!r}{nearest(word, names)}")
    return table(component)


def table(entries: Sequence[Law]) -> RenderableType:
    """The laws by component, each with its statement."""
    longest = max(len(law.id) for law in entries)
    groups: list[RenderableType] = []
    for component, members in groupby(entries, key=lambda law: law.component):
        rows = Table.grid(padding=(0, 2))
        rows.add_column(width=longest, no_wrap=True)
        rows.add_column(overflow="fold")
        for law in members:
            rows.add_row(Text(law.id, "cyan"), Text(law.statement + (" (advice)" if law.advice else "")))
        groups += [Text(component, "bold"), Padding(rows, (0, 0, 1, 2))]
    return Group(*groups)


def lesson(law: Law) -> RenderableType:
    """All that a law says, its worked example, and the command that runs it."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, words in _rows(law):
        rows.add_row(name, Text(words))
    heading = Text.assemble((law.id, "bold cyan"), ("  advice" if law.advice else "", "yellow"))
    return Group(heading, Text(law.statement, "bold"), Text(), *_example(law.lesson), rows)


def _rows(law: Law) -> list[tuple[str, str]]:
    needs = ", ".join(need for need in law.needs if need != "logits")
    needs = NEEDS.get(law.component, needs or "nothing but the model")
    command = RUN.get(law.component, "trueformer check MODEL --only {id}").format(id=law.id)
    rows = [
        ("it shows as", law.symptoms),
        ("usual causes", law.causes),
        ("probe", law.looks),
        ("tolerance", law.tolerance),
        ("source", law.source),
        ("needs", needs),
        ("run it", f"{command} --deep" if law.deep else command),
    ]
    return [(name, words) for name, words in rows if words]


def _example(text: str) -> Iterator[RenderableType]:
    """Prose as prose, and what is indented as Python."""
    lines = inspect.cleandoc(text).splitlines()
    for is_code, block in groupby(_with_blanks(lines), key=lambda pair: pair[0]):
        said = "\n".join(line for _, line in block)
        if is_code:
            code = Syntax(
                textwrap.dedent(said).strip("\n"), "python", background_color="default", word_wrap=True
            )
            yield Padding(code, (0, 0, 1, 4))
        elif said.strip():
            yield Padding(Text(said.strip("\n")), (0, 0, 1, 0))


def _with_blanks(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is code: indented, or a blank one between two that are."""
    is_code = False
    for i, line in enumerate(lines):
        following = next((later for later in lines[i:] if later.strip()), "")
        is_code = line.startswith("    ") if line.strip() else is_code and following.startswith("    ")
        yield is_code, line
