"""Sound: warmup from zero."""

import torch
import torch.nn as nn
from small import GPT, batch, loss_of

torch.manual_seed(0)

model = GPT()
# built
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
# ready
for step in range(12):
    optimizer.param_groups[0]["lr"] = 1e-3 * min(1, step / 4)
    x, y = batch()
    loss = loss_of(model, x, y)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    # stepped
    optimizer.zero_grad(set_to_none=True)
    # cleared
    if step % 4 == 3:
        model.eval()
        with torch.no_grad():
            print("validation", loss_of(model, *batch()).item())
        model.train()
    print(step, loss.item())
