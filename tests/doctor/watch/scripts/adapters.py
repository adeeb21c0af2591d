"""Sound: fine-tuning with adapters."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)


class Lora(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(torch.randn(4, linear.in_features) * 0.1)
        self.up = nn.Parameter(torch.zeros(linear.out_features, 4))

    def forward(self, x):
        return self.linear(x) + x @ self.down.T @ self.up.T


model = GPT()
for parameter in model.parameters():
    parameter.requires_grad = False
for block in model.blocks:
    block.qkv = Lora(block.qkv)
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for _ in range(12):
    optimizer.zero_grad()
    loss_of(model, *batch()).backward()
    optimizer.step()
