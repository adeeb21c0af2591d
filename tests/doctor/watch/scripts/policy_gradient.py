"""Sound: policy gradient."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)

policy = nn.Linear(8, 4)
optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
for _ in range(12):
    log_p = F.log_softmax(policy(torch.randn(16, 8)), -1)
    chosen = log_p.gather(-1, torch.randint(0, 4, (16, 1)))[:, 0]
    loss = -(chosen * torch.randn(16)).mean() + 0.1 * (log_p.exp() * log_p).sum(-1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
