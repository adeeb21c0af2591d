"""What every benchmark shares: medians with spread, the hardware's name, one plain table.

Leaves out the measuring itself.
"""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, minimum and maximum. Example: "1.92 (1.88–1.97)"."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}g} ({low:.{digits}g}–{high:.{digits}g})"


def hardware() -> str:
    """The processor, how many of its cores torch uses, and versions."""
    return (
        f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores, "
        f"{torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def print_table(title: str, rows: Sequence[dict[str, str]]) -> None:
    """Rows of equal keys as one table, the hardware below it."""
    table = Table(
        title=title, title_justify="left", title_style="bold", caption=hardware(), caption_justify="left"
    )
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        table.add_row(*row.values())
    Console(width=120).print(table)
