"""What `trueformer check` is told of the script beside it, which trains when it is imported.

trueformer check nanogpt_style_parts.py:model --train nanogpt_style_parts.py:parts
"""

import nanogpt_style_train as train
from torch import nn


class WithoutTargets(nn.Module):
    """The script's model cannot be called without targets; this one can."""

    def __init__(self):
        super().__init__()
        self.gpt = train.model

    def forward(self, idx, targets=None):
        return self.gpt(idx, idx if targets is None else targets)


class Batches:
    """An epoch of what the script draws."""

    def __iter__(self):
        return (train.get_batch("train") for _ in range(8))


model = WithoutTargets()


def parts():
    return {
        "max_len": train.block_size,
        "optimizer": train.optimizer,
        "loader": Batches(),
        "val_loader": [train.get_batch("val") for _ in range(8)],
        "schedule": train.get_lr,
        "peak_lr": train.learning_rate,
        "warmup_steps": train.warmup_iters,
        "max_steps": train.max_iters,
    }
