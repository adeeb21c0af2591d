"""Teaches a small model to answer, and lets it answer."""

from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_generate
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, user
from trueformer.training.data import ChatData
from trueformer.training.loop import Trainer

from .pretrain import trainer
from .report import Findings
from .small import DID, WHO

ASKED = 20


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """What is learned of a conversation, and what is then answered."""
    wanted = {"tokenizer": "char", "max_len": 40, **settings, "conversations": True}
    wanted["loop"] = {"steps": 100, "eval_every": 50, **settings.get("loop", {})}
    made, watch = trainer(wanted, seed, folder)
    assert isinstance(made.data, ChatData)
    batches = [next(made.data.loader(8, seed, made.world)) for _ in range(10)]
    targets = torch.stack([batch.targets_BT for batch in batches])
    inputs = torch.stack([batch.inputs_BT for batch in batches])
    made.fit()
    replies = [_reply(made, WHO[i % len(WHO)], i) for i in range(ASKED)]
    numbers = {
        "loss_at_start": watch.steps[0].loss,
        "loss_at_end": watch.steps[-1].loss,
        "validation_loss": watch.evaluations[-1].loss,
        "share_of_places_learned": float((targets >= 0).float().mean()),
        "share_of_places_padding": float((inputs == made.data.tokenizer.pad_id).float().mean()),
        "conversations_kept": float(made.data.train.counts.conversations),
        "answers_of_20": float(sum(text.startswith(DID) for text, _ in replies)),
        "answers_like_the_user": float(sum(text.startswith(WHO) for text, _ in replies)),
        "answers_that_end": float(sum(ended for _, ended in replies)),
    }
    curves = {"loss": {"training": [step.loss for step in watch.steps]}}
    return Findings(numbers=numbers, curves=curves, texts=tuple(text for text, _ in replies[:3]))


def _reply(made: Trainer, asked: str, seed: int) -> tuple[str, bool]:
    """The answer to one word, and whether it came to an end of its own."""
    words, model = made.data.tokenizer, made.model.eval()
    chat = MarkedFormat(words, OURS)
    prompt = chat.prompt(Conversation.of(user(asked)))
    room = model.config.max_len - len(prompt) - 1
    new = plain_generate(
        model,
        prompt,
        SamplingConfig(temperature=0.7, seed=seed),
        max_new_tokens=room,
        stop_ids=set(chat.stop_ids),
    )
    return words.decode(new), len(new) < room
