"""The pytest plugin: `assert_lawful(model)` in a test, or a test for each law of a model that is named.

    pytest --trueformer mymodel.py:build                       # whatever `trueformer check` takes, in quotes
    pytest --trueformer mymodel.py:build -m trueformer         # these alone, without the other tests

    [tool.pytest.ini_options]                                  # always, in runs of the whole suite
    trueformer_targets = ["mymodel.py:build --train mytrain.py:parts"]

Every pytest run of whoever has trueformer installed loads this file: what is heavy is imported on use.
"""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, and the setting for pyproject.toml or pytest.ini."""
    group = parser.getgroup("trueformer", "the laws of transformers")
    group.addoption(
        "--trueformer",
        action="append",
        default=[],
        metavar="TARGET",
        help="a test for each law over this model: file.py:build, or all that `trueformer check` takes, in quotes",
    )
    group.addoption(
        "--trueformer-train", default="", metavar="FILE:PARTS", help="as --train of `trueformer check`"
    )
    parser.addini(
        "trueformer_targets", "targets of --trueformer for runs of the whole suite", type="linelist"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker that every law's test carries."""
    config.addinivalue_line(
        "markers", "trueformer: a law over a model, from --trueformer or trueformer_targets"
    )


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Adds the tests of the targets that are asked for."""
    for words in _targets(session.config):
        items.extend(Laws.from_parent(session, words=words).collect())


def _targets(config: pytest.Config) -> list[str]:
    train = config.getoption("--trueformer-train")
    more = f" --train {shlex.quote(train)}" if train else ""
    asked = [words + more for words in config.getoption("--trueformer")]
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    return asked + [words for words in config.getini("trueformer_targets") if whole]


class Laws(pytest.Collector):
    """The laws over one target. The model is made once, when the first law is run."""

    def __init__(self, words: str, parent: pytest.Session, **more: Any) -> None:
        self.check = _parsed(words)
        super().__init__(name=self.check.target, parent=parent, nodeid=self.check.target, **more)
        self.add_marker("trueformer")
        self._subject: Any = None
        self._refused: ValueError | None = None

    def collect(self) -> Iterator["LawItem"]:
        """A test a law."""
        try:
            laws = self.check.laws()
        except ValueError as error:
            raise pytest.UsageError(f"trueformer: {error}") from None
        for law in laws:
            yield LawItem.from_parent(self, law=law)

    def subject(self) -> Any:
        """What the laws are run over; where it cannot be had, the second law is told so at once."""
        if self._refused is None and self._subject is None:
            try:
                self._subject = self.check.subject()
            except ValueError as error:
                self._refused = error
        if self._refused is not None:
            raise self._refused
        return self._subject


class LawItem(pytest.Item):
    """One law: passes where it holds, is skipped where it cannot be judged, fails where it is broken."""

    def __init__(self, law: Any, parent: Laws, **more: Any) -> None:
        super().__init__(name=law.id, parent=parent, **more)
        self.law, self.laws = law, parent

    def runtest(self) -> None:
        """Runs the law over the target."""
        import dataclasses

        from trueformer.doctor.runner import examine
        from trueformer.laws.law import Verdict

        check = self.laws.check
        report = examine(
            self.laws.subject(), [self.law], name=check.target, deep=check.deep, limit=check.limit
        )
        result = report.results[0]
        if result.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED):
            pytest.skip(f"{result.verdict}: {result.reason}")
        _tell(self, dataclasses.replace(report, command=check.command))
        if result.fails:
            raise LawFails(result.line)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was measured, without a traceback through the probe; the report stands in a section of its own."""
        if isinstance(excinfo.value, LawFails | ValueError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the model is, and the law."""
        return self.config.rootpath / self.laws.check.target.rpartition(":")[0], None, self.name


class LawFails(Exception):
    """The law of a test is broken, or the model crashed under it."""


@pytest.fixture
def assert_lawful(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`assert_lawful(model, vocab_size=…, loss=…)`: as `trueformer.check`, and fails where a law is broken.

    Returns the report. The test's output shows, for each broken law, what was measured and what usually causes it.
    """

    def assert_lawful(model: Any, **parts: Any) -> Any:
        __tracebackhide__ = True
        from trueformer.doctor.check import check

        report = check(model, **parts)
        _tell(request.node, report)
        report.raise_if_broken()
        return report

    return assert_lawful


def _tell(item: pytest.Item, report: Any) -> None:
    """The report in the output of a test that fails."""
    from trueformer.doctor.terminal import broken_as_text

    if report.broken:
        item.add_report_section("call", "trueformer", broken_as_text(report))


def _parsed(words: str) -> Any:
    """The command `trueformer check` with these words."""
    import contextlib
    import io

    import tyro

    from trueformer.commands.check import FILES, Check

    said = io.StringIO()
    config = (tyro.conf.OmitArgPrefixes,)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            check = tyro.cli(Check, prog="trueformer check", args=shlex.split(words), config=config)
    except SystemExit:
        raise pytest.UsageError(f"trueformer: cannot read {words!r}\n{said.getvalue()}") from None
    if any(getattr(check, kind) for kind in FILES):
        raise pytest.UsageError(f"trueformer: {words!r} asks for a file: expected pytest's own --junitxml")
    return check
