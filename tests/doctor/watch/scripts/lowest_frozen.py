"""Sound: the lowest block and the embedding frozen."""

import torch
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
for parameter in [*model.wte.parameters(), *model.blocks[0].parameters()]:
    parameter.requires_grad = False
optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-3)
for _ in range(12):
    optimizer.zero_grad()
    loss_of(model, *batch()).backward()
    optimizer.step()
