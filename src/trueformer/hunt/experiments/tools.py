"""Teaches a small model to look an animal up with a tool, and lets it: what does the user get to read?"""

import random
from pathlib import Path
from typing import Any

import torch

from trueformer.data.chat_rows import ChatSet
from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_generate
from trueformer.tokenization.chat_format import MarkedFormat, ToolMarks, result_ids
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user
from trueformer.training.data import ChatData
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model

from .pretrain import Watch
from .report import Findings
from .small import WHO, small_run

ASKED = 20


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """How often the tool is asked, and what the user gets to read of what it says."""
    loop = {"steps": 200, "eval_every": 100, "batch_size": 8, **settings.get("loop", {}), "seed": seed}
    wanted: dict[str, Any] = {"max_len": 48, "conversations": True, **settings, "loop": loop}
    config, made_up = small_run(**wanted)
    chat = MarkedFormat(made_up.tokenizer, OURS)
    sides = [ChatSet(_talks(*side), chat, config.data.seq_len) for side in ((600, seed), (60, seed + 1000))]
    torch.manual_seed(seed)
    model, watch = build_model(config.model, config.loop), Watch()
    data = ChatData(train=sides[0], held_out=sides[1], chat=chat)
    made = Trainer(config, model, data, folder, device=torch.device("cpu"), callbacks=[watch])
    made.fit()
    read = {found: _read(made, chat, WHO[found % len(WHO)], str(found)) for found in range(10, 10 + ASKED)}
    numbers = {
        "loss_at_start": watch.steps[0].loss,
        "loss_at_end": watch.steps[-1].loss,
        "validation_loss": watch.evaluations[-1].loss,
        "tool_asked_of_20": float(sum(text is not None for text in read.values())),
        "answers_as_taught_of_20": float(sum((text or "").endswith("is here.") for text in read.values())),
        "results_among_the_words_of_20": float(sum(str(n) in (text or "") for n, text in read.items())),
    }
    curves = {"loss": {"training": [step.loss for step in watch.steps]}}
    return Findings(numbers=numbers, curves=curves, texts=tuple(filter(None, read.values()))[:3])


def _talks(count: int, seed: int) -> list[Conversation]:
    """The user names an animal; the assistant looks up its number, and says that it is here."""
    pick = random.Random(seed)
    asked = [(pick.choice(WHO), str(pick.randrange(10, 100))) for _ in range(count)]
    return [
        Conversation.of(user(who), assistant(ToolCall("find", who), ToolResult(found), f"The {who} is here."))
        for who, found in asked
    ]


def _read(made: Trainer, chat: MarkedFormat, who: str, found: str) -> str | None:
    """What is read of an answer; None where the tool was not asked."""
    marks, model = chat.tools, made.model.eval()
    assert marks is not None
    ids = chat.prompt(Conversation.of(user(who)))
    start, stops = len(ids), {*chat.stop_ids, marks.call_end}
    sampling = SamplingConfig(temperature=0.5, seed=int(found))
    ids += plain_generate(model, ids, sampling, max_new_tokens=12, stop_ids=stops)
    if marks.call_start not in ids[start:]:
        return None
    ids += [marks.call_end, *result_ids(chat.tokenizer, marks, found)]
    ids += plain_generate(model, ids, sampling, max_new_tokens=20, stop_ids=chat.stop_ids)
    return chat.tokenizer.decode(_words(ids[start:], marks))


def _words(ids: list[int], marks: ToolMarks) -> list[int]:
    """All but what stands between the marks of a call or of a result."""
    closing = {marks.call_start: marks.call_end, marks.output_start: marks.output_end}
    words, until = [], None
    for i in ids:
        if until is not None:
            until = None if i == until else until
        elif i in closing:
            until = closing[i]
        else:
            words.append(i)
    return words
