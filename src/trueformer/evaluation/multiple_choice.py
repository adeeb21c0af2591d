r"""Multiple choice by likelihood: which answer does the model find likeliest after the question?

    {"question": "What is the capital of France?", "choices": ["Rome", "Paris"], "answer": 1}

Each choice is scored by the log-probability of its tokens after "Question: …\nAnswer:", summed (accuracy) and
per byte (normalised accuracy, which does not favour short choices), as the EleutherAI evaluation harness does
(`acc` and `acc_norm`). Leaves out chat formats: the text is put as it stands.

Shapes: C choices, T length.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trueformer.data.progress import count_line
from trueformer.evaluation.examination import Score
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.loss import token_nats

LINE_LIMIT = 1 << 20  # bytes of one question


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A question, possible answers, and which of them is right."""

    question: str
    choices: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or not all(self.choices):
            raise ValueError(f"{len(self.choices)} choices: expected at least 2, none of them empty")
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(
                f"answer is {self.answer}: expected 0 to {len(self.choices) - 1}, a choice's place"
            )

    @property
    def context(self) -> str:
        """What the choices are scored after."""
        return f"Question: {self.question}\nAnswer:"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceScores:
    """Accuracy by summed log-probability, and by log-probability per byte."""

    summed: Score
    per_byte: Score


def read_choices(path: Path) -> list[Choice]:
    """The questions of a JSONL file; `answer` is a place counted from 0, a letter from A, or a choice's text.

    Raises:
        ValueError: a line is no such question; names the line and what was expected.
        OSError: the file cannot be read.
    """
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT + 1), b""), start=1):
            if line.strip():
                try:
                    found.append(_choice(line))
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error
    if not found:
        raise ValueError(f"{path} has no questions: expected lines with question, choices and answer")
    return found


def _choice(line: bytes) -> Choice:
    if len(line) > LINE_LIMIT:
        raise ValueError(f"longer than {LINE_LIMIT} bytes: expected one question")
    row: Any = json.loads(line)
    fields = ("question", "choices", "answer")
    if not isinstance(row, dict) or any(field not in row for field in fields):
        raise ValueError(f"expected an object with {', '.join(fields)}")
    question, choices, answer = (row[field] for field in fields)
    if not isinstance(question, str) or not isinstance(choices, list):
        raise ValueError("expected a question that is text and choices that are a list")
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError("expected choices that are texts")
    return Choice(question=question, choices=tuple(choices), answer=_place(answer, choices))


def _place(answer: object, choices: list[str]) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer
    letters = [chr(ord("A") + i) for i in range(len(choices))]
    for known in (choices, letters):
        if answer in known:
            return known.index(answer)
    raise ValueError(f"answer is {answer!r}: expected a place from 0, a letter from A, or one of the choices")


def score_choices(loaded: LoadedModel, questions: Iterable[Choice]) -> ChoiceScores:
    """How often the right choice is the likeliest.

    Raises:
        ValueError: the model has no tokenizer, or a question is longer than its max_len.
    """
    if loaded.tokenizer is None:
        raise ValueError(f"{loaded.source} has no tokenizer, so it cannot read questions")
    questions, summed, per_byte = list(questions), 0, 0
    with count_line("scoring choices", len(questions)) as advance:
        for question in questions:
            logp = likelihoods(loaded.model, loaded.tokenizer, question.context, question.choices)
            normed = [p / len(choice.encode()) for p, choice in zip(logp, question.choices, strict=True)]
            summed += logp.index(max(logp)) == question.answer
            per_byte += normed.index(max(normed)) == question.answer
            advance(1)
    n = len(questions)
    return ChoiceScores(summed=Score(correct=summed, total=n), per_byte=Score(correct=per_byte, total=n))


@torch.inference_mode()
def likelihoods(model: DecoderLM, tokenizer: Tokenizer, context: str, choices: Iterable[str]) -> list[float]:
    """Log-probability, in nats, of " " + each choice after the context.

    Context and choice are cut into tokens together, so that a merge across the space is the usual one. Rows
    are padded on the right, where a causal model does not look.
    """
    bos = getattr(tokenizer, "adds_bos", True)
    before = tokenizer.encode(context, bos=bos)
    rows = [tokenizer.encode(f"{context} {choice}", bos=bos) for choice in choices]
    longest = max(map(len, rows))
    if longest > model.config.max_len:
        raise ValueError(
            f"a question comes to {longest} tokens: expected at most the model's {model.config.max_len} "
            "(max_len); leave it out"
        )
    ids_CT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    targets_CT = torch.full_like(ids_CT, -100)
    for i, row in enumerate(rows):
        targets_CT[i, len(before) - 1 : len(row) - 1] = ids_CT[i, len(before) : len(row)]
    nats_CT = token_nats(
        model.hidden(ids_CT), model.head_weight, targets_CT, softcap=model.config.logit_softcap
    )
    return (-nats_CT.double().sum(-1)).tolist()
