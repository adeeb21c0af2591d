"""Other people's linters: what they say of a script, every rule on."""

import json
from pathlib import Path

from alarms.tool import Alarms, counted, run
from trueformer.doctor.lint.peers import TORCHFIX


def torch_preflight(python: str, script: Path) -> Alarms:
    """The rules of torch-preflight, notes too."""
    said = run(
        [python, "-m", "torch_preflight", "check", "--format", "json", script], script.parent, allowed=(0, 1)
    )
    return counted(one["code"] for one in json.loads(said)["diagnostics"])


def torchfix(python: str, script: Path) -> Alarms:
    """The rules of TorchFix, those that are off by default too."""
    said = run([python, "-m", "torchfix", "--select", "ALL", script], script.parent, allowed=(0, 1))
    found = [match for line in said.splitlines() if (match := TORCHFIX.match(line))]
    return counted(match["rule"] for match in found)
