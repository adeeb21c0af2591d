"""A real token sees the real tokens up to itself, wherever the padding is; every token may see itself."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.masks import attention_mask


def probe(pick: random.Random) -> None:
    """The mask, place by place; then a padded text gets the logits that it gets alone."""
    rows, length = pick.randrange(1, 4), pick.randrange(4, 12)
    valid = torch.tensor([[pick.random() < 0.6 for _ in range(length)] for _ in range(rows)])
    allowed = attention_mask(torch.arange(length), length, key_valid_BS=valid)
    for b in range(rows):
        for t in range(length):
            wanted = [s == t or (s < t and bool(valid[b, s])) for s in range(length)]
            assert allowed[b, t].tolist() == wanted, f"row {b}, query {t}"
    config = DecoderConfig(
        vocab_size=30,
        max_len=32,
        d_model=16,
        n_layers=2,
        n_heads=2,
        positions=pick.choice(["rope", "learned"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    text, before, behind = torch.randint(30, (1, length)), pick.randrange(4), pick.randrange(4)
    padded = torch.nn.functional.pad(text, (before, behind), value=pick.randrange(30))
    real = torch.nn.functional.pad(torch.ones_like(text), (before, behind)).bool()
    with torch.no_grad():
        found = model(padded, key_valid_BS=real)[:, before : before + length]
        torch.testing.assert_close(found, model(text), rtol=1e-4, atol=1e-4)
