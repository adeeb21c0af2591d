"""Sound: two tasks."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)

model = nn.ModuleDict({"body": nn.Linear(8, 16), "a": nn.Linear(16, 4), "b": nn.Linear(16, 4)})
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for _ in range(12):
    optimizer.zero_grad()
    x, y = torch.randn(8, 8), torch.randint(0, 4, (8,))
    F.cross_entropy(model["a"](model["body"](x)), y).backward()
    F.cross_entropy(model["b"](model["body"](x)), y).backward()
    optimizer.step()
