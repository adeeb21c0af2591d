"""One gradient from many micro-batches, weighted by target tokens, equal to that of one big batch.

The mean over all target tokens of a step is sum(loss sums) / sum(counts): each micro-batch's loss *sum* is
divided by the count of the whole step, over all micro-batches and processes. Dividing by the number of
micro-batches instead, or averaging their means, is wrong as soon as they hold unequal numbers of target
tokens.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueformer.data.loader import IGNORE, Batch
from trueformer.training.config import LoopConfig
from trueformer.training.distributed import World, without_sync


def target_tokens(micro_batches: Sequence[Batch]) -> int:
    """How many tokens the micro-batches ask the model to predict."""
    return sum(int((batch.targets_BT != IGNORE).sum()) for batch in micro_batches)


def accumulate(
    loss_sum: Callable[[Batch], Float[Tensor, ""]],
    module: nn.Module,
    micro_batches: Sequence[Batch],
    total_tokens: int,
    world: World,
) -> Float[Tensor, ""]:
    """Backpropagate every micro-batch; returns its share of the mean loss, in nats a token, detached.

    `loss_sum(batch)` is the sum over the batch's target tokens; `module` is what `distributed.wrap` gave;
    `total_tokens` counts the targets of all micro-batches of all processes. DDP averages over processes
    where a sum is meant, so the scale is multiplied by their number. Raises ValueError when there is no
    target at all.
    """
    if total_tokens < 1:
        raise ValueError(
            "a whole batch holds no target token: every position is masked, so there is nothing to learn"
        )
    share = torch.zeros((), dtype=torch.float32)
    for index, batch in enumerate(micro_batches):
        last = index == len(micro_batches) - 1
        if last:
            loss = loss_sum(batch) / total_tokens
            (loss * world.size).backward()
        else:
            with without_sync(module):
                loss = loss_sum(batch) / total_tokens
                (loss * world.size).backward()
        share = share.to(loss.device) + loss.detach()
    return share


def micro_batching(config: LoopConfig, world: World) -> tuple[int, int]:
    """Rows a forward pass sees, and forward passes a step, on each process.

    Raises:
        ValueError: `batch_size` cannot be shared out evenly.
    """
    share, uneven = divmod(config.batch_size, world.size)
    rows = config.micro_batch_size or share
    if uneven or share % rows:
        raise ValueError(
            f"batch_size is {config.batch_size}: expected a multiple of {world.size} processes × {rows} rows "
            "(micro_batch_size), so that every process takes equally many"
        )
    return rows, share // rows
