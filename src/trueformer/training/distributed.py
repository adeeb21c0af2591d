"""Several processes as one run, under `torchrun`: who we are, sums over all, and the wrapped model.

Leaves out sharding: `wrap` is the one place where DDP is chosen, and where FSDP2 would be. Control messages
(counts, stop requests) travel as CPU tensors over gloo even when gradients go over NCCL, so that they never
wait for a kernel.

    torchrun --nproc-per-node 2 -m trueformer train …
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among those of its run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the group that torchrun's environment describes, and leave it at the end; alone without it.

    No wrapped module may outlive the block: were it the last to hold the group, freeing it would wait, with the
    interpreter's lock held, for a thread of gloo that may be waiting for that lock (pytorch issue 56297).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), local_rank=local_rank)
    finally:
        dist.destroy_process_group()


def summed(values: Sequence[int | float], world: World) -> list[float]:
    """Each value summed over all processes, in float64. Every process must call it at the same point."""
    if world.size == 1:
        return [float(value) for value in values]
    numbers = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(numbers)
    return numbers.tolist()


def gathered(payload: bytes, world: World) -> list[bytes]:
    """Each process's bytes, by rank, on every process."""
    if world.size == 1:
        return [payload]
    length = torch.tensor([len(payload)])
    lengths = [torch.zeros_like(length) for _ in range(world.size)]
    dist.all_gather(lengths, length)
    longest = max(int(n) for n in lengths)
    mine = torch.zeros(longest, dtype=torch.uint8)
    mine[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    parts = [torch.empty_like(mine) for _ in range(world.size)]
    dist.all_gather(parts, mine)
    return [part[: int(n)].numpy().tobytes() for part, n in zip(parts, lengths, strict=True)]


def barrier(world: World) -> None:
    """Wait for all processes."""
    if world.size > 1:
        dist.barrier()


@contextmanager
def main_first(world: World) -> Iterator[None]:
    """Rank 0 runs the block before the others do; they then find its files made."""
    if not world.is_main:
        barrier(world)
    yield
    if world.is_main:
        barrier(world)


def wrap(module: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The module whose backward pass averages gradients over processes; the seam where FSDP2 would go."""
    if world.size == 1:
        return module
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(
        module, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def without_sync(module: nn.Module) -> AbstractContextManager:
    """Within it a backward pass only accumulates locally: for every micro-batch but a step's last."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
