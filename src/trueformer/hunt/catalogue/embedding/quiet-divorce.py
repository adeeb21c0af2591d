"""A tied model has one matrix for words: counted once, and one still in copies and in other dtypes."""

import copy
import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Copied and converted: changing the embedding changes the head; the number of parameters is that of one matrix."""
    V, D = pick.randrange(20, 60), pick.choice([8, 16])
    counts = {}
    for tied in (True, False):
        config = DecoderConfig(vocab_size=V, max_len=16, d_model=D, n_layers=1, n_heads=2, tied=tied)
        model = DecoderLM(config, backend="plain").eval()
        counts[tied] = sum(p.numel() for p in model.parameters())
        if tied:
            loaded = DecoderLM(config, backend="plain")
            loaded.load_state_dict(model.state_dict())
            for other in (model, copy.deepcopy(model), loaded, copy.deepcopy(model).to(torch.bfloat16)):
                _one(other, pick.randrange(V))
    assert counts[False] - counts[True] == V * D, "a tied model has a matrix more than it should"


def _one(model: DecoderLM, word: int) -> None:
    """Doubling a word's embedding doubles its logit where the word is not read."""
    x = torch.randn(3, model.config.d_model).to(model.embedding.weight.dtype)
    before = model.logits(x)[:, word]
    with torch.no_grad():
        model.embedding.weight[word] *= 2
    torch.testing.assert_close(model.logits(x)[:, word], 2 * before, atol=1e-2, rtol=1e-2)
    assert torch.equal(model.head_weight, model.embedding.weight), "training reads another matrix"
