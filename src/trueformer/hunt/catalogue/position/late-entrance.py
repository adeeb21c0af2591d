"""The first token of a text has the first position, however long the text and however it is fed."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


def probe(pick: random.Random) -> None:
    """Token row plus place row is what the first block reads; a beginning, and any cache, agree with the whole."""
    config = DecoderConfig(
        vocab_size=pick.randrange(11, 40),
        max_len=pick.randrange(20, 40),
        d_model=pick.choice([16, 24]),
        n_layers=2,
        n_heads=2,
        positions="learned",
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    n = pick.randrange(4, 15)
    ids = torch.randint(config.vocab_size, (1, n))
    read: list[torch.Tensor] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _, given: read.append(given[0]))
    whole = model(ids)
    handle.remove()
    assert isinstance(model.positions, torch.nn.Embedding)
    _same(read[0][0], model.embedding.weight[ids[0]] + model.positions.weight[:n])
    _same(model(ids[:, : n // 2]), whole[:, : n // 2])
    cache = KVCache(config, 1, pick.randrange(n, 20))
    _same(torch.cat([model(part, cache=cache) for part in ids.split(1, dim=1)], 1), whole)


def _same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
