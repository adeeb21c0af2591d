"""Sound: scaled."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for _ in range(12):
    for _ in range(2):
        scaler.scale(loss_of(model, *batch()) / 2).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    scaler.step(optimizer)
    scaler.update()
    schedule.step()
    optimizer.zero_grad()
