"""The objective scores the logits of a place against the target of that place, all of them."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.training.config import LoopConfig
from trueformer.training.objective import Objective


def probe(pick: random.Random) -> None:
    """Equals the summed -log softmax of the model's own logits at the targets that count."""
    vocab, rows, length = pick.randrange(11, 40), pick.randrange(1, 4), pick.randrange(4, 16)
    config = DecoderConfig(
        vocab_size=vocab, max_len=16, d_model=pick.choice([8, 16]), n_layers=1, n_heads=2, n_kv_heads=2
    )
    model = DecoderLM(config, backend="plain").eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    inputs, targets = torch.randint(0, vocab, (2, rows, length))
    targets[:, pick.randrange(length)] = -100
    logs = model(inputs).double().log_softmax(-1)
    kept = targets >= 0
    wanted = -logs[kept][torch.arange(int(kept.sum())), targets[kept]].sum()
    found = Objective(model, LoopConfig(backend="plain"))(inputs, targets)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3)
