"""Of a packed row each text gets what it gets alone, whatever its number and that of its neighbours."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Three texts in a row under any three numbers, against each alone."""
    config = DecoderConfig(
        vocab_size=pick.randrange(20, 40),
        max_len=40,
        d_model=16,
        n_layers=2,
        n_heads=pick.choice([1, 2]),
        positions=pick.choice(["rope", "learned"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    texts = [torch.randint(config.vocab_size, (2, pick.randrange(2, 9))) for _ in range(3)]
    names = pick.sample(range(-5, 50), 3)
    numbers = [torch.full_like(text, name) for text, name in zip(texts, names, strict=True)]
    with torch.no_grad():
        packed = model(torch.cat(texts, 1), document_BT=torch.cat(numbers, 1))
        alone = torch.cat([model(text) for text in texts], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
