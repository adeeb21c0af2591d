"""Sound: experts."""

import torch
import torch.nn as nn

torch.manual_seed(0)


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        choice = self.router(x).softmax(-1).max(-1)
        parts = [self.experts[i](x[choice.indices == i]).mean(0) for i in choice.indices.unique()]
        return (torch.stack(parts).mean(0) * choice.values.mean()).sum()


model = Mixture()
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for _ in range(20):
    optimizer.zero_grad()
    model(torch.randn(2, 16)).square().backward()
    optimizer.step()
