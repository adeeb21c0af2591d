"""What a process that computes for long asks of its memory: keep what is freed, and take large pages.

glibc gives large blocks, and the end of the heap, back to the kernel as soon as they are free; the next step
takes them again page by page, each zeroed first. On a CPU that costs a training step some 10 % of its time, a
server's reading of prompts 5 %, and small pages another 2 %. Leaves out every other allocator: there nothing
is changed.
"""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
NEVER_TRIM, NO_MAPPINGS = -1, 0


def settle_memory() -> bool:
    """Tell glibc and torch, for the rest of this process; returns whether glibc was told.

    torch reads its setting when it makes its first tensor, so this comes before. Sources: mallopt(3);
    c10/core/impl/alloc_cpu.cpp.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_TRIM_THRESHOLD, NEVER_TRIM) and mallopt(M_MMAP_MAX, NO_MAPPINGS))
