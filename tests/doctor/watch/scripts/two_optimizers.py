"""Sound: two optimizers."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
vectors = [p for p in model.parameters() if p.dim() < 2]
matrices = [p for p in model.parameters() if p.dim() == 2]
optimizers = [torch.optim.AdamW(vectors, lr=1e-3), torch.optim.SGD(matrices, lr=1e-2, momentum=0.9)]
for _ in range(12):
    loss_of(model, *batch()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad()
