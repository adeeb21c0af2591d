"""Changes one line of the stack by chance: what luck solves.

    python random_line.py SEED

The name for this baseline is revert-random-line. There is nothing to revert: a workspace's history has one commit, which
holds the bug already. So a line is drawn among all that can be changed, and one of its small changes (`changes.py`).
"""

import random
import sys
from pathlib import Path

from changes import Change, changes


def main() -> None:
    """Draws by the seed and the incident, so that no two cases get the same draw."""
    pick = random.Random(sys.argv[1] + Path("INCIDENT.md").read_text(encoding="utf-8"))
    lines: dict[tuple[Path, int], list[Change]] = {}
    for path in sorted(Path("trueformer").rglob("*.py")):
        for change in changes(path.read_text(encoding="utf-8")):
            lines.setdefault((path, change.line), []).append(change)
    path, line = pick.choice(list(lines))
    path.write_text(pick.choice(lines[path, line]).source, encoding="utf-8")
    print(f"{path}:{line}, one of {len(lines)} lines that can be changed")


if __name__ == "__main__":
    main()
