"""Trains a small model on made-up stories, watches it, and lets it write."""

import math
import random
from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_generate
from trueformer.training.callbacks.protocol import Callback, Evaluate, Step
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model

from .report import Findings
from .small import small_run

NAMES = ("Ada", "Ben", "Cleo", "Dev", "Eva", "Finn")
THINGS = ("key", "cup", "hat", "map", "pen", "bell")
USUAL: dict[str, Any] = {
    "tokenizer": "bpe",
    "max_len": 64,
    "d_model": 48,
    "loop": {"steps": 120, "batch_size": 8, "eval_every": 40},
    "optim": {"lr_matrices": 0.02, "lr_embeddings": 0.02},
    "schedule": {"warmup_steps": 12},
}


def stories(count: int, seed: int) -> list[str]:
    """Documents in which the end can be told from the beginning."""
    pick = random.Random(seed)
    return [_story(pick) for _ in range(count)]


def _story(pick: random.Random) -> str:
    names, things = pick.sample(NAMES, 3), pick.sample(THINGS, 3)
    facts = " ".join(f"{name} has the {thing}." for name, thing in zip(names, things, strict=True))
    asked = pick.randrange(3)
    return f"{facts} Who has the {things[asked]}? {names[asked]}."


class Watch(Callback):
    """Keeps what the loop tells."""

    name = "watch"

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.evaluations: list[Evaluate] = []

    def on_step(self, event: Step) -> None:
        """One more step."""
        self.steps.append(event)

    def on_evaluate(self, event: Evaluate) -> None:
        """One more look at the validation split."""
        self.evaluations.append(event)


def trainer(settings: dict[str, Any], seed: int, folder: Path) -> tuple[Trainer, Watch]:
    """A run that is about to begin."""
    wanted = {**USUAL, **settings}
    for part in ("loop", "optim", "schedule"):
        wanted[part] = {**USUAL[part], **settings.get(part, {})}
    wanted["loop"]["seed"] = seed
    config, data = small_run(texts=(stories(400, seed), stories(40, seed + 1000)), **wanted)
    torch.manual_seed(seed)
    watch = Watch()
    model = build_model(config.model, config.loop)
    return Trainer(config, model, data, folder, device=torch.device("cpu"), callbacks=[watch]), watch


def written(run: Trainer, prompt: str, temperature: float, seed: int) -> str:
    """What the model goes on with."""
    words, model = run.data.tokenizer, run.model.eval()
    ids = plain_generate(
        model,
        words.encode(prompt, bos=True),
        SamplingConfig(temperature=temperature, seed=seed),
        max_new_tokens=24,
        stop_ids={words.bos_id},
    )
    return prompt + words.decode(ids)


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """Losses, gradients and rates of a whole short run, the least share of a tensor that moved, and two samples."""
    made, watch = trainer(settings, seed, folder)
    before = [p.detach().clone() for p in made.model.parameters()]
    made.fit()
    moved = [float((p != old).float().mean()) for p, old in zip(made.model.parameters(), before, strict=True)]
    again = made.evaluate().nats_per_token
    losses = [step.loss for step in watch.steps]
    norms = [step.grad_norm for step in watch.steps]
    rates = [step.lr_factor for step in watch.steps]
    validation = [event.loss for event in watch.evaluations]
    numbers = {
        "loss_at_start": losses[0],
        "loss_at_end": _mean(losses[-10:]),
        "loss_halfway": _mean(losses[len(losses) // 2 - 5 : len(losses) // 2 + 5]),
        "validation_loss": validation[-1],
        "validation_again": abs(again - validation[-1]),
        "bits_per_byte": watch.evaluations[-1].bits_per_byte,
        "grad_norm_at_start": norms[0],
        "grad_norm_most": max(norms),
        "grad_norm_at_end": _mean(norms[-10:]),
        "rate_most": max(rates),
        "rate_at_quarter": rates[len(rates) // 4],
        "rate_at_end": rates[-1],
        "largest_weight": max(float(p.detach().abs().max()) for p in made.model.parameters()),
        "weights_moved": min(moved),
        "skipped_steps": float(sum(step.skipped for step in watch.steps)),
        "ln_vocabulary": math.log(made.config.model.vocab_size),
    }
    texts = tuple(written(made, "Ada has the", temperature, seed) for temperature in (0.0, 0.8))
    curves = {"loss": {"training": losses}, "gradient norm": {"norm": norms}, "rate": {"of its peak": rates}}
    return Findings(numbers=numbers, curves=curves, texts=texts)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
