"""Whether memory stays flat from step to step."""

import mmap
import weakref
from collections import deque
from itertools import pairwise

import torch
from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.laws.law import Law, write

GRAPHS = 20
BLOCK, BLOCKS = 10, 6  # steps
PAGE = mmap.PAGESIZE
GROWTH = 32 * 2**20  # bytes over all blocks


class Sentinel:
    """Lives as long as the node of the graph that it is hung on; as a hook it does nothing."""

    __slots__ = ("__weakref__",)

    def __call__(self, gradients: object) -> None:
        """Leaves the gradients as they are."""


class Memory(Rule):
    """Judges live/memory."""

    law = write(
        Law(
            id="live/memory",
            statement="The graph of a step's loss is gone soon after the step.",
            source="torch.autograd: a tensor with grad_fn keeps every node behind it alive.",
            looks=(
                f"Hangs a token on each loss's graph node and counts those alive; {GRAPHS} in a row is a "
                "leak."
            ),
            tolerance=f"{GRAPHS} steps.",
            symptoms="Memory grows a little every step, until the run is killed after hours.",
            causes="losses.append(loss) or total += loss: use loss.item() or loss.detach().",
            lesson="A list of 10⁵ losses holds 10⁵ graphs; a list of loss.item() holds 10⁵ floats.",
        )
    )
    unjudged = f"fewer than {GRAPHS} backward passes"

    def prepare(self) -> None:
        self._alive: deque[weakref.ref[Sentinel]] = deque(maxlen=GRAPHS + 2)

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        node = roots[0].grad_fn if roots else None
        if node is not None:
            sentinel = Sentinel()
            node.register_prehook(sentinel)
            self._alive.append(weakref.ref(sentinel))

    def step_ends(self, owner: Owner) -> None:
        older = list(self._alive)[:-2]
        if len(older) < GRAPHS:
            return
        self.judged += 1
        if all(ref() is not None for ref in older):
            self.broke(
                f"the graphs of the last {GRAPHS} losses are alive: something keeps loss, not loss.item()",
                measured=GRAPHS,
                bound=2,
            )
            self._alive.clear()


class MemoryGrowth(Rule):
    """Judges live/memory-growth."""

    law = write(
        Law(
            id="live/memory-growth",
            statement="Memory in use does not grow step after step.",
            source="A training step of one shape needs the same memory every time.",
            looks="Reads the process's own memory, without mapped files, and the device's, once a step.",
            tolerance=(
                f"Advice: {BLOCKS} blocks of {BLOCK} steps, each above the last, 32 MiB in all. Caches may "
                "be meant."
            ),
            symptoms="The run is killed for memory after hours.",
            causes="A list that keeps tensors; a cache without bound; a history of whole batches.",
            lesson=(
                "One batch of 64 × 1024 int64 kept every step is half a megabyte a step, 50 GB in 100 000."
            ),
            advice=True,
        )
    )
    unjudged = f"fewer than {BLOCK * BLOCKS} steps"

    def prepare(self) -> None:
        self._bytes: deque[int] = deque(maxlen=BLOCK * BLOCKS)

    def step_ends(self, owner: Owner) -> None:
        self._bytes.append(in_use())
        if len(self._bytes) < BLOCK * BLOCKS or self.run.step % BLOCK:
            return
        self.judged += 1
        readings = list(self._bytes)
        lows = [min(readings[i : i + BLOCK]) for i in range(0, len(readings), BLOCK)]
        rises = all(a < b for a, b in pairwise(lows))
        if rises and lows[-1] - lows[0] > GROWTH:
            grown = (lows[-1] - lows[0]) / 2**20
            self.broke(
                f"{grown:.0f} MiB more in {len(readings)} steps, rising all the time",
                measured=grown,
                bound=32,
                at=place(),
            )


def in_use() -> int:
    """Bytes of this process that are not files, and of torch on the current CUDA device."""
    device = torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - ten times as fast as Path, every step
            _, resident, shared, *_ = statm.read().split()
    except FileNotFoundError:  # not Linux
        return device
    return device + (int(resident) - int(shared)) * PAGE
