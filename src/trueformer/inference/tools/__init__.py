"""Tools a model can call while it writes: `ToolBox` runs them in processes that can be killed.

Names are loaded on first use: a worker process imports this package each time it starts.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueformer.inference.tools.box import ToolBox
    from trueformer.inference.tools.tool import Tool, ToolError

_HOMES = {
    "Tool": "trueformer.inference.tools.tool",
    "ToolBox": "trueformer.inference.tools.box",
    "ToolError": "trueformer.inference.tools.tool",
}
__all__ = ["Tool", "ToolBox", "ToolError"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
