"""A file of one JSON object a line, each with a `step`, that survives being killed and resumed.

Lines reach the file as they are written. When a run goes on from step s, what lies beyond s is cut off
first, so no step is there twice. Reading tells of every line it cannot use instead of passing over it in
silence. Leaves out what the lines mean: see `metrics.py`, `sample.py`, `gradients.py`.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any


class JsonLines:
    """Append records to `path`, after cutting off those beyond `step`, where a run resumes (0: all)."""

    def __init__(self, path: Path, step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _cut(path, step)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        """One line; a number that is not finite becomes null, which every JSON reader knows."""
        self._file.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """All records of `path`, in order; warns about lines that are no record, with their numbers."""
    lines = path.read_bytes().splitlines()
    records = [_record(line) for line in lines]
    bad = [number for number, record in enumerate(records, 1) if record is None]
    if bad:
        warnings.warn(
            f"{path}: {len(bad)} of {len(lines)} lines are not records and were left out "
            f"(line {', '.join(map(str, bad[:5]))}{', …' if len(bad) > 5 else ''}); "
            f"the first reads {lines[bad[0] - 1][:80]!r}",
            stacklevel=2,
        )
    return [record for record in records if record is not None]


def _cut(path: Path, step: int) -> None:
    """Drop everything after the last record of at most `step` that comes before any later one."""
    end = keep = 0
    with path.open("r+b") as file:
        for line in file if step else ():
            end += len(line)
            record = _record(line)
            if record is None:
                continue
            if record["step"] > step:
                break
            keep = end if line.endswith(b"\n") else keep
        file.truncate(keep)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("step"), int) else None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
