"""What is freed stays in the process: seen from outside, in a process of its own."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
from trueformer.training.memory import keep_freed_memory

def resident():
    pages = open("/proc/self/statm").read().split()[1]
    return int(pages) * 4096 / 2**20

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resident()
block = torch.ones(2**26)
held = resident()
del block
print(held - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory")
@pytest.mark.parametrize("keep", [True, False])
def test_256_mib_that_were_freed_stay_resident_only_when_asked(keep):
    command = [sys.executable, "-c", PROGRAM, "keep" if keep else "leave"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held, left = map(float, done.stdout.split())
    assert held > 250
    assert left > 250 if keep else left < 50
