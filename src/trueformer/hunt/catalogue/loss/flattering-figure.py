"""Bits per byte: the nats of the letters of a text over their bytes, marks and unknown letters left out of both."""

import math
import random

import torch

from trueformer.data.loader import Batch
from trueformer.evaluation.bits_per_byte import evaluate_batches
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.characters import train_characters


def probe(pick: random.Random) -> None:
    """Counts the bytes of the letters in the targets by hand, and the model's own -log p of them."""
    known = "abcdé日🦉 "
    words = train_characters([known])
    config = DecoderConfig(
        vocab_size=words.vocab_size, max_len=24, d_model=8, n_layers=1, n_heads=2, n_kv_heads=2
    )
    model = DecoderLM(config, backend="plain").eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    letters: list[str] = []  # "" is a mark
    while len(letters) < 24:
        letters += ["", *pick.choices(known + "?ñ", k=pick.randrange(2, 9))]
    ids = torch.tensor([i for c in letters for i in (words.encode(c) if c else [words.bos_id])])[:24]
    inputs, targets = ids[:-1].clone(), ids[1:].clone()
    targets[pick.randrange(23)] = -100
    sizes = [len(c.encode()) if c and c in known else 0 for c in letters[1:24]]
    kept = torch.tensor([size > 0 for size in sizes]) & (targets >= 0)
    n_bytes = sum(size for size, counts in zip(sizes, kept.tolist(), strict=True) if counts)
    logs = model(inputs[None])[0].detach().double().log_softmax(-1)
    nats = -logs[kept][torch.arange(int(kept.sum())), targets[kept]].sum()
    found = evaluate_batches(model, iter([Batch(inputs[None], targets[None], None)]), words)
    assert found.bytes == n_bytes
    assert found.tokens == int((targets >= 0).sum())
    assert math.isclose(found.bits_per_byte, float(nats) / math.log(2) / n_bytes, rel_tol=1e-4)
