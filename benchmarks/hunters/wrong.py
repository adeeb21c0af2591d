"""Makes a repair that the catalogue refuses: what it solves was graded by less than behaviour.

python wrong.py REPAIRS     # a folder for each case, named after the project that it is a repair of
"""

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path


def name_of(sources: Mapping[str, str]) -> str:
    """A name for a project, from paths to sources: each planted one has its own."""
    return hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()


def main() -> None:
    """Finds the repair of the project in this folder, and makes it."""
    here = Path("trueformer")
    sources = {
        path.relative_to(here).as_posix(): path.read_text(encoding="utf-8") for path in here.rglob("*.py")
    }
    shutil.copytree(Path(sys.argv[1]) / name_of(sources), here, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
