"""The short experiments of an incident: what the settings name is run, and what was measured is shown."""

import importlib
import json
import shutil
import sys
from pathlib import Path

from .report import Findings, show

SETTINGS = "settings.json"


def measure(settings: dict, seed: int, folder: Path) -> Findings:
    """The experiment that the settings name, once; `folder` may be written to."""
    module = importlib.import_module(f"{__name__}.{settings['experiment']}")
    return module.run({k: v for k, v in settings.items() if k != "experiment"}, seed, folder)


def main() -> int:
    """Reads the settings beside the script, runs each experiment, and writes `figures/` and `metrics.json`."""
    here = Path(sys.argv[0]).resolve().parent
    wanted = json.loads((here / SETTINGS).read_text(encoding="utf-8"))
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for place, settings in enumerate(wanted, 1):
        print(f"{settings['experiment']} {place}, seed {seed} …", flush=True)
        folder = here / "out" / str(place)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        show(measure(settings, seed, folder), here, place)
    return 0
