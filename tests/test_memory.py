"""What is freed stays in the process, and pages are large: seen in a process of its own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import torch
from trueformer.memory import settle_memory

def resident(field="Rss"):
    rows = (line.split() for line in open("/proc/self/smaps_rollup"))
    return next(int(row[1]) / 2**10 for row in rows if row[0] == field + ":")

if sys.argv[1] == "keep":
    assert settle_memory()
before = resident()
block = torch.ones(2**26)
held = resident()
huge = resident("AnonHugePages")
del block
print(held - before, resident() - before, huge)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory")
@pytest.mark.parametrize("keep", [True, False])
def test_256_mib_that_were_freed_stay_resident_only_when_asked(keep):
    command = [sys.executable, "-c", PROGRAM, "keep" if keep else "leave"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, left, huge = map(float, done.stdout.split())
    assert held > 250
    assert left > 250 if keep else left < 50
    if keep and "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        assert huge > 200
