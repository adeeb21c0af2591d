"""A model for more tokens than it was trained with: special tokens added before fine-tuning.

New rows of the embedding, and of an untied head, start at the mean of the others and a little apart: a row
far from them all would make its token near certain or near impossible, whatever the text (Hewitt 2021,
"Initializing New Word Embeddings for Pretrained Language Models").
"""

import dataclasses
from collections.abc import Sequence

import torch

from trueformer.models.decoder import DecoderLM


@torch.no_grad()
def with_new_tokens(
    model: DecoderLM, vocab_size: int, new_ids: Sequence[int], generator: torch.Generator
) -> DecoderLM:
    """A model with at least `vocab_size` rows whose rows `new_ids` are freshly drawn; the others are copied.

    Raises:
        ValueError: rows would be left that are neither copied nor new.
    """
    old_size = model.config.vocab_size
    left = sorted(set(range(old_size, vocab_size)) - set(new_ids))
    if left:
        raise ValueError(f"row {left[0]} of the embedding is new and not among new_ids: expected it there")
    config = dataclasses.replace(model.config, vocab_size=max(old_size, vocab_size))
    with torch.device(model.embedding.weight.device):
        grown = DecoderLM(config, backend=model.backend)
    weights = dict(model.state_dict())
    names = ["embedding.weight"] if model.head is None else ["embedding.weight", "head.weight"]
    for name in names:
        known_VD = weights[name][[i for i in range(old_size) if i not in set(new_ids)]].float()
        wide_VD = known_VD.new_empty(config.vocab_size, known_VD.shape[1])
        wide_VD[:old_size] = weights[name]
        noise = torch.randn(len(new_ids), known_VD.shape[1], generator=generator) * config.init_std
        wide_VD[list(new_ids)] = known_VD.mean(0) + noise.to(known_VD.device)
        weights[name] = wide_VD
    grown.load_state_dict(weights)
    return grown.to(model.embedding.weight.dtype).train(model.training)
