"""Functions and methods of torch replaced for a while, and put back whatever happens.

Leaves out what the replacements do: `observe`.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

Make = Callable[[Callable[..., Any]], Callable[..., Any]]


class Patches:
    """Replacements that end with the `with` block, the last first."""

    def __init__(self) -> None:
        self._originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Patches":
        return self

    def __exit__(self, *_: object) -> None:
        while self._originals:
            setattr(*self._originals.pop())

    def replace(self, home: Any, name: str, make: Make) -> None:
        """Put `make(original)` in the place of `home.name`."""
        original = vars(home)[name]
        self._set(home, name, functools.wraps(original)(make(original)))

    def replace_everywhere(self, function: Callable[..., Any], make: Make) -> None:
        """The same in every loaded module that holds the function, under whatever name."""
        replacement = functools.wraps(function)(make(function))
        for module in [m for m in sys.modules.values() if m is not None]:
            names = getattr(module, "__dict__", {})
            for name in [name for name, value in list(names.items()) if value is function]:
                self._set(module, name, replacement)

    def _set(self, home: Any, name: str, value: Any) -> None:
        self._originals.append((home, name, vars(home)[name]))
        setattr(home, name, value)
