"""Sound: schedule by epoch."""

import torch
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.SequentialLR(
    optimizer,
    [
        torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    ],
    [2],
)
for _ in range(4):
    for step in range(3):
        for micro in range(3):  # the last one of an epoch is left over, and goes on in the next
            (loss_of(model, *batch()) / 2).backward()
            if (3 * step + micro) % 2:
                optimizer.step()
                optimizer.zero_grad()
    schedule.step()
