"""Serving SmolLM2-135M: many at once through the engine, one at once, and transformers' static batches.

    python benchmarks/serving.py

Eight different short questions in the model's chat format, answered greedily with the same number of tokens
each (nobody stops before). Aggregate tokens/s counts new tokens over the time from the first request to the
last token, prompts included. The first token's time is the median request's from its submission: alone, and
when eight come at once. Contenders take turns, round after round, in one process. Needs the extra `hf`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from measure import print_table, spread
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.engine import Engine
from trueformer.inference.engine.request import Request
from trueformer.load import load_model
from trueformer.memory import settle_memory
from trueformer.tokenization.chat_format import chat_format
from trueformer.tokenization.conversations import Conversation, user
from trueformer.transfer import export_model

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Name three colours.",
    "Who wrote Hamlet?",
    "How do plants grow?",
    "What is a prime number?",
    "Where do penguins live?",
    "What does a compiler do?",
)
BURSTS = 4  # of all questions, for the first token's time in a round
GREEDY = SamplingConfig(temperature=0.0)


@dataclass(kw_only=True)
class Contender:
    """`run(prompts, n)` gives every prompt n tokens; returns the seconds until each one's first."""

    name: str
    run: Callable[[list[list[int]], int], list[float]]
    at_once: int
    streams: bool
    rates: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)


def ours(engine: Engine, at_once: int, name: str) -> Contender:
    """The engine, given `at_once` of the prompts at a time."""

    def run(prompts: list[list[int]], n: int) -> list[float]:
        firsts: list[float] = []
        for begin in range(0, len(prompts), at_once):
            engine.forget()  # or the prompts of the round before would not be read again
            requests = {
                Request(prompt=prompt, max_new_tokens=n, sampling=GREEDY)
                for prompt in prompts[begin : begin + at_once]
            }
            begun = time.perf_counter()
            for request in requests:
                engine.submit(request)
            while not engine.idle:
                for event in engine.step():
                    if event.token is not None and event.request in requests:
                        firsts.append(time.perf_counter() - begun)
                        requests.discard(event.request)
        return firsts

    return Contender(name=f"trueformer {name}, {at_once} at once", run=run, at_once=at_once, streams=True)


def peer(folder: Path, dtype: torch.dtype, name: str) -> Contender:
    """transformers: `generate` over all prompts as one batch, padded on the left."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    model.generation_config.eos_token_id = None

    def run(prompts: list[list[int]], n: int) -> list[float]:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, max_new_tokens=n, do_sample=False, pad_token_id=0)
        return []

    return Contender(name=f"transformers generate {name}, one batch of 8", run=run, at_once=8, streams=False)


def measure(contenders: list[Contender], prompts: list[list[int]], rounds: int, tokens: int) -> None:
    """Fill in everybody's rates, in turns."""
    for contender in contenders:
        contender.run(prompts, tokens)  # the first call pays for what is made once
    for i in range(rounds):
        for contender in contenders:
            begun = time.perf_counter()
            contender.run(prompts, tokens)
            contender.rates.append(len(prompts) * tokens / (time.perf_counter() - begun))
        for contender in contenders:
            if contender.streams:
                firsts = [first for _ in range(BURSTS) for first in contender.run(prompts, 1)]
                contender.firsts.append(statistics.median(firsts))
        print(f"round {i + 1} of {rounds}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    contenders: list[Contender] = []
    with tempfile.TemporaryDirectory() as workdir:
        for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bf16")):
            folder = export_model("smollm2", Path(workdir) / name, dtype=dtype)
            contenders.append(peer(folder, dtype, name))
        loaded = load_model("smollm2", dtype=torch.bfloat16)
        for title, compiled in (("bf16", False), ("bf16, compiled", True)):
            engine = Engine(loaded.model, n_slots=8, slot_len=512, compile_step=compiled)
            contenders += [ours(engine, at_once, title) for at_once in (1, 8)]
    settle_memory()  # as `trueformer serve` does
    assert loaded.tokenizer is not None
    chat = chat_format(loaded.tokenizer, loaded.chat_template)
    assert chat is not None
    prompts = [chat.prompt(Conversation.of(user(question))) for question in QUESTIONS]
    measure(contenders, prompts, args.rounds, args.tokens)
    best = max(statistics.median(c.rates) for c in contenders if c.name.startswith("transformers"))
    alone = {c.name.rsplit(",", 1)[0]: c for c in contenders if c.at_once == 1}
    rows = []
    for c in contenders:
        one = alone.get(c.name.rsplit(",", 1)[0])
        rate, first = statistics.median(c.rates), statistics.median(c.firsts or [0.0])
        rows.append(
            {
                "": c.name,
                "tokens/s": spread(c.rates),
                "× one at once": f"{rate / statistics.median(one.rates):.2f}" if one else "",
                "× transformers": f"{rate / best:.2f}",
                "first token, s": spread(c.firsts) if c.firsts else "",
                "× alone": f"{first / statistics.median(one.firsts):.2f}" if one else "",
            }
        )
    title = f"SmolLM2-135M, 8 questions, {args.tokens} new tokens each, {args.rounds} rounds"
    print_table(title, rows)


if __name__ == "__main__":
    main()
