"""Sound: by hand, None."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
for _ in range(12):
    loss_of(model, *batch()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None
