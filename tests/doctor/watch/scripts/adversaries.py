"""Sound: two adversaries."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)

make, judge = nn.Linear(8, 16), nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
for_make, for_judge = torch.optim.Adam(make.parameters(), 1e-3), torch.optim.Adam(judge.parameters(), 1e-3)
real, fake = torch.ones(8, 1), torch.zeros(8, 1)
for _ in range(12):
    for_judge.zero_grad(set_to_none=True)
    made = make(torch.randn(8, 8))
    F.binary_cross_entropy_with_logits(judge(torch.randn(8, 16)), real).backward()
    F.binary_cross_entropy_with_logits(judge(made.detach()), fake).backward()
    nn.utils.clip_grad_norm_(judge.parameters(), 0.1)
    for_judge.step()
    for_make.zero_grad(set_to_none=True)
    F.binary_cross_entropy_with_logits(judge(made), real).backward()
    nn.utils.clip_grad_norm_(make.parameters(), 0.1)
    for_make.step()
