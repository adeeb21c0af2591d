"""Sound: closure."""

import torch
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
x, y = batch()


def closure():
    optimizer.zero_grad()
    loss = loss_of(model, x, y)
    loss.backward()
    return loss


for _ in range(6):
    optimizer.step(closure)
