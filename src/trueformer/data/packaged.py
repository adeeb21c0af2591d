"""Data files that come inside a Python package, found without running any of its code."""

from importlib.util import find_spec
from pathlib import Path


def packaged_files(package: str, pattern: str, *, missing: str) -> list[Path]:
    """The files of a top-level package that match a glob pattern, sorted.

    Raises:
        FileNotFoundError: there are none, as where the package is not installed; says `missing`.
    """
    spec = find_spec(package)  # finds a top-level package without running it
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob(pattern))
    if not files:
        raise FileNotFoundError(missing)
    return files
