"""Serves requests after a short training: rows with their own seeds, filters, a cache used twice, the context's end."""

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.plain import plain_generate, plain_probabilities
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache

from .pretrain import trainer
from .report import Findings

SEEDS = range(120)


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """What one gets in company against what one gets alone, and what is left behind."""
    wanted = {**settings, "loop": {"steps": 40, "eval_every": 40, **settings.get("loop", {})}}
    made, _ = trainer(wanted, seed, folder)
    made.fit()
    model, words = made.model.eval(), made.data.tokenizer
    prompt = words.encode("Ada has the", bos=True)
    texts = _texts(model, prompt, 16, range(2))
    numbers = {**_company(model, prompt), **_filters(model, prompt), **_left(model, prompt)}
    return Findings(numbers=numbers, texts=tuple("Ada has the" + words.decode(new) for new in texts))


def _texts(
    model: DecoderLM, prompt: list[int], new: int, seeds: Iterable[int], **sampling: Any
) -> list[tuple[int, ...]]:
    """The same prompt in one batch, once for each seed."""
    rows = [SamplingConfig(seed=seed, **sampling) for seed in seeds]
    return [tuple(row.ids) for row in generate(model, [prompt] * len(rows), rows, max_new_tokens=new)]


def _company(model: DecoderLM, prompt: list[int]) -> dict[str, float]:
    together = _texts(model, prompt, 16, range(6))
    alone = [_texts(model, prompt, 16, [seed])[0] for seed in range(6)]
    return {
        "rows_of_6_unlike_alone": float(sum(a != b for a, b in zip(together, alone, strict=True))),
        "texts_of_6_seeds": float(len(set(together))),
    }


def _filters(model: DecoderLM, prompt: list[int]) -> dict[str, float]:
    def kinds(**sampling: Any) -> float:
        return float(len(set(_texts(model, prompt, 1, SEEDS, **sampling))))

    return {
        "kinds_without_filters": kinds(),
        "kinds_with_top_k_3": kinds(top_k=3),
        "kinds_with_top_p_0.6": kinds(top_p=0.6),
        "kinds_with_min_p_when_hot": kinds(min_p=0.2, temperature=3.0),
    }


@torch.no_grad()
def _left(model: DecoderLM, prompt: list[int]) -> dict[str, float]:
    """A cache after its reset, memory after many calls, and text that goes on to the end of the context."""
    longest = model.config.max_len
    ids = torch.tensor([prompt])
    cache = KVCache(model.config, 1, longest)
    model(ids, cache=cache)
    cache.reset()
    again = model(ids, cache=cache)
    held = []
    for _ in range(2):
        for _ in range(5):
            _texts(model, prompt, 4, range(2))
        held.append(_bytes())
    padded = KVCache(model.config, 2, longest, start_B=torch.tensor([0, 2]))
    beside = model(torch.tensor([[*prompt, *prompt[-2:]], [0, 0, *prompt]]), cache=padded)[1, 2:]
    free, held_back = (
        plain_probabilities(model(ids)[0, -1], prompt, SamplingConfig(repetition_penalty=penalty)).log()
        for penalty in (1.0, 1.2)
    )
    gained = held_back - free - (held_back - free)[min({*range(len(free))} - {*prompt})]
    new = plain_generate(model, prompt, SamplingConfig(seed=1), max_new_tokens=longest + 8)
    return {
        "gap_after_reset": float((again - model(ids)).abs().max()),
        "bytes_more_after_5_calls": float(held[1] - held[0]),
        "tokens_past_the_context": float(max(0, len(prompt) + len(new) - longest)),
        "seen_tokens_that_gain_by_a_penalty": float((gained[sorted({*prompt})] > 1e-9).sum()),
        "gap_beside_a_longer_row": float((beside - model(ids)[0]).abs().max()),
    }


def _bytes() -> int:
    """Of all tensors that are alive, each memory once."""
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive}.values())
