"""In a grading process, our stack is the hunter's: its modules come from the workspace, laws and all else from us."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

OURS = {"laws", "subject", "doctor", "hunt", "as_subject"}  # what grades is never taken from a workspace


class WorkspaceImports(importlib.abc.MetaPathFinder):
    """Finds `trueformer.nn` and the like in a workspace.

    Raises:
        RuntimeError: a module of the stack has been imported before: it would be the installed one.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        early = [name for name in sys.modules if self._is_theirs(name)]
        if early:
            raise RuntimeError(f"{early[0]} is imported already: the workspace's would never be seen")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The workspace's file for a module of the stack; nothing is taken from the installed stack in its place."""
        if not self._is_theirs(fullname):
            return None
        place = self.package.joinpath(*fullname.split(".")[1:])
        if (place / "__init__.py").is_file():
            return importlib.util.spec_from_file_location(
                fullname, place / "__init__.py", submodule_search_locations=[str(place)]
            )
        if place.with_suffix(".py").is_file():
            return importlib.util.spec_from_file_location(fullname, place.with_suffix(".py"))
        raise ModuleNotFoundError(f"the workspace has no {fullname}: {place}.py is missing", name=fullname)

    @staticmethod
    def _is_theirs(name: str) -> bool:
        first, _, rest = name.partition(".")
        return first == "trueformer" and bool(rest) and rest.split(".")[0] not in OURS
