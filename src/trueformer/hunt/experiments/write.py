"""Trains for a moment, then looks at what is written: filters, temperatures, seeds, batches, the cache."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.plain import plain_generate
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache

from .pretrain import trainer
from .report import Findings

DRAWS = 200
PROMPTS = ("Ada has the", "Who has", "Ben has the map. Eva has the bell. Who has the map?")


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """What comes out of each setting, against what the model's own logits say."""
    wanted = {**settings, "loop": {"steps": 40, "eval_every": 40, **settings.get("loop", {})}}
    made, _ = trainer(wanted, seed, folder)
    made.fit()
    model, words = made.model.eval(), made.data.tokenizer
    prompts = [words.encode(text, bos=True) for text in PROMPTS]
    texts = [
        words.decode(plain_generate(model, prompts[0], SamplingConfig(seed=i), max_new_tokens=20))
        for i in (1, 2)
    ]
    numbers = {**_filters(model, prompts[0]), **_repeats(model, prompts), **_memory(model, prompts)}
    return Findings(numbers=numbers, texts=tuple(PROMPTS[0] + text for text in texts))


def _first(model: DecoderLM, prompt: list[int], **sampling: Any) -> Counter[int]:
    """How often each token comes first."""
    found: Counter[int] = Counter()
    for seed in range(DRAWS):
        found.update(plain_generate(model, prompt, SamplingConfig(seed=seed, **sampling), max_new_tokens=1))
    return found


@torch.no_grad()
def _filters(model: DecoderLM, prompt: list[int]) -> dict[str, float]:
    probabilities = model(torch.tensor([prompt]))[0, -1].double().softmax(-1).sort(descending=True)
    mass = probabilities.values.cumsum(0)
    nucleus = probabilities.indices[: int((mass < 0.6).sum()) + 1].tolist()
    likely = probabilities.indices[probabilities.values >= 0.3 * probabilities.values[0]].tolist()
    kept_p = set(_first(model, prompt, top_p=0.6))
    kept_m = set(_first(model, prompt, min_p=0.3))
    cold, hot = _first(model, prompt, temperature=0.5), _first(model, prompt, temperature=2.0)
    return {
        "kinds_with_top_k_3": float(len(_first(model, prompt, top_k=3))),
        "kinds_without_filters": float(len(_first(model, prompt))),
        "outside_the_nucleus": float(len(kept_p - set(nucleus))),
        "missing_of_the_nucleus": float(len(set(nucleus) - kept_p)),
        "below_min_p": float(len(kept_m - set(likely))),
        "greatest_share_when_cold": cold.most_common(1)[0][1] / DRAWS if cold else 0.0,
        "greatest_share_when_hot": hot.most_common(1)[0][1] / DRAWS if hot else 0.0,
        "greedy_is_most_likely": float(
            next(iter(_first(model, prompt, temperature=0.0)), -1) == int(probabilities.indices[0])
        ),
    }


def _repeats(model: DecoderLM, prompts: list[list[int]]) -> dict[str, float]:
    def text(seed: int, **sampling: Any) -> tuple[int, ...]:
        return tuple(
            plain_generate(model, prompts[0], SamplingConfig(seed=seed, **sampling), max_new_tokens=20)
        )

    plain, punished = text(1, temperature=0.0), text(1, temperature=0.0, repetition_penalty=3.0)
    once = plain[: plain.index(plain[-1]) + 1] if plain else ()
    stopped = plain_generate(
        model, prompts[0], SamplingConfig(temperature=0.0), max_new_tokens=20, stop_ids=set(plain[-1:])
    )
    return {
        "same_seed_differs": float(text(5) != text(5)),
        "texts_of_5_seeds": float(len({text(seed) for seed in range(5)})),
        "repeated_with_penalty": 1 - len(set(punished)) / max(1, len(punished)),
        "tokens_past_the_stop": float(abs(len(stopped) - max(0, len(once) - 1))),
        "tokens_of_20": float(len(plain)),
    }


@torch.no_grad()
def _memory(model: DecoderLM, prompts: list[list[int]]) -> dict[str, float]:
    """Rows of unequal length together and alone; logits with the cache and without; a cache that is used again."""
    greedy = SamplingConfig(temperature=0.0)
    together = [new.ids for new in generate(model, prompts, greedy, max_new_tokens=16)]
    alone = [plain_generate(model, prompt, greedy, max_new_tokens=16) for prompt in prompts]
    ids = torch.tensor([prompts[2]])
    cache = KVCache(model.config, 1, ids.shape[1])
    gaps = []
    for _ in range(2):
        seen = [model(part, cache=cache) for part in (ids[:, :5], *ids[:, 5:].split(1, dim=1))]
        gaps.append(float((torch.cat(seen, 1) - model(ids)).abs().max()))
        cache.reset()
    return {
        "rows_that_differ_together": float(sum(a != b for a, b in zip(together, alone, strict=True))),
        "cache_gap": gaps[0],
        "cache_gap_after_reset": gaps[1],
        "different_logits_of_last_token": float(len(model(ids)[0, -1].unique())),
    }
