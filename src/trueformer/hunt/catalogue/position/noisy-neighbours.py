"""With positions added to the input, a text behind another one, or behind padding, has the logits it has alone."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Three documents in a row, padding before a text, and both at once."""
    config = DecoderConfig(
        vocab_size=pick.randrange(11, 40),
        max_len=40,
        d_model=pick.choice([16, 24]),
        n_layers=2,
        n_heads=2,
        positions=pick.choice(["learned", "sinusoidal"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    sizes = [pick.randrange(2, 12) for _ in range(3)]
    ids = torch.randint(config.vocab_size, (1, sum(sizes)))
    document = torch.repeat_interleave(torch.tensor([5, 2, 9]), torch.tensor(sizes))[None]
    parts = ids.split(sizes, dim=1)
    alone = [model(part) for part in parts]
    _same(model(ids, document_BT=document), torch.cat(alone, 1))
    valid = torch.arange(ids.shape[1])[None] >= sizes[0]
    _same(model(ids, key_valid_BS=valid)[:, sizes[0] :], model(ids[:, sizes[0] :]))
    both = model(ids, document_BT=document, key_valid_BS=valid)[:, sizes[0] :]
    _same(both, torch.cat(alone[1:], 1))


def _same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
