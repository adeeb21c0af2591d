"""Plants a bug: a subject's source with pieces of text replaced, run as a module of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SUBJECTS = Path(__file__).parent.parent / "subjects"


def plant(file: str, *edits: tuple[str, str]) -> ModuleType:
    """The subject in which each `old` of the edits, which stands there exactly once, is `new`."""
    source = (SUBJECTS / file).read_text(encoding="utf-8")
    for old, new in edits:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {file}"
        source = source.replace(old, new)
    module = ModuleType(f"planted_{file.removesuffix('.py')}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, file, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="session")
def planted() -> Callable[..., ModuleType]:
    """`plant`, for tests."""
    return plant
