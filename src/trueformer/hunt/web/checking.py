"""Grades a workspace in a process of its own, and says on one line of JSON what the page shows of it.

python -m trueformer.hunt.web.checking FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

from trueformer.hunt.grade import Grade
from trueformer.hunt.sessions import check
from trueformer.hunt.terminal import SHOWN

SECONDS = 180  # a grading has a limit of its own, below this


def main() -> int:
    """Checks the folder that is named on the command line; a hunter's mistake becomes `error`."""
    try:
        said = told(check(Path(sys.argv[1]))[1])
    except ValueError as error:
        said = {"state": "error", "error": str(error)}
    print(json.dumps(said))
    return 0


def told(result: Grade) -> dict[str, Any]:
    """What a hunter is told of a grade: what holds and what does not, never a place."""
    behaviours = result.behaviours
    return {
        "state": "error"
        if result.error
        else "refused"
        if result.fooled
        else "solved"
        if result.solved
        else "open",
        "error": result.error,
        "reasons": result.fooled[:SHOWN],
        "repaired": sum(result.repaired.values()),
        "bugs": len(result.repaired),
        "held": result.held,
        "behaviours": behaviours[:SHOWN],
        "more": max(0, len(behaviours) - SHOWN),
    }


if __name__ == "__main__":
    sys.exit(main())
