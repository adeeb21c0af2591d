"""With any gains of the QK-norms, a text has the same logits at every place of a row, and the gains count."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Random gains: behind padding as alone; and other gains give other logits."""
    config = DecoderConfig(
        vocab_size=pick.randrange(11, 40),
        max_len=40,
        d_model=pick.choice([16, 32]),
        n_layers=pick.choice([1, 2]),
        n_heads=2,
        n_kv_heads=pick.choice([1, 2]),
        rope_layout=pick.choice(["half", "interleaved"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    n, gap = pick.randrange(6, 15), pick.randrange(3, 20)
    ids = torch.randint(config.vocab_size, (1, gap + n))
    alone = model(ids[:, gap:])
    behind = model(ids, key_valid_BS=torch.arange(gap + n)[None] >= gap)[:, gap:]
    torch.testing.assert_close(behind, alone, atol=1e-4, rtol=1e-4)
    norm = model.blocks[0].attention.q_norm
    for gains in (norm, model.blocks[0].attention.k_norm):
        with torch.no_grad():
            gains.weight.mul_(torch.rand_like(gains.weight) + 0.2)
        assert (model(ids[:, gap:]) - alone).abs().max() > 1e-5, "the gains do nothing"
        alone = model(ids[:, gap:])
