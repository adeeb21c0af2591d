"""Sound: accumulation."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
for _ in range(8):
    for _ in range(4):
        loss = loss_of(model, *batch()) / 4
        loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
