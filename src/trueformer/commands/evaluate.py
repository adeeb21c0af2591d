"""`trueformer eval`: how well a model predicts text, answers a task's questions, or picks choices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trueformer.commands.show import table


@dataclass(frozen=True, kw_only=True, slots=True)
class Eval:
    """Measure a model on text: bits a byte, nats a token, perplexity; or ask it questions.

    A run is measured on its own validation split; give a source to measure on all of another text. With
    --task, a model that converses is asked a task's held-out questions; with --choices, it picks answers.

    Try:
      trueformer eval runs/shakespeare
      trueformer eval smollm2 essays/*.txt --seq-len 1024
      trueformer eval runs/calculator --task arithmetic
      trueformer eval smollm2 --choices questions.jsonl
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    source: tyro.conf.Positional[tuple[str, ...]] = ()
    """A named corpus, a file, a folder or a glob; none: the run's validation split."""
    seq_len: int = 0
    """Tokens a row; 0: as the run was trained, else 512 or the model's most."""
    batch_size: int = 8
    """Rows at once."""
    max_batches: int = 0
    """Batches at most; 0: all."""
    task: str = ""
    """Ask the held-out questions of a task: arithmetic, gsm8k:FOLDER, spelling, identity."""
    choices: Annotated[Path | None, tyro.conf.arg(metavar="FILE.jsonl")] = None
    """Score multiple choice: lines with question, choices and answer."""
    limit: int = 0
    """Questions of a task at most; 0: all."""
    no_tools: tyro.conf.FlagCreatePairsOff[bool] = False
    """With --task: calls of tools are not answered."""
    show: int = 0
    """With --task: print so many answers that were wrong."""

    def run(self) -> int:
        """Measure and print one table; returns the exit code."""
        if self.task and self.choices:
            raise ValueError("--task and --choices contradict each other: give one of them")
        if self.task:
            return self._ask()
        if self.choices:
            return self._choose(self.choices)
        return self._predict()

    def _ask(self) -> int:
        from trueformer.data.chats.registry import open_task
        from trueformer.evaluation.examination import examine
        from trueformer.inference.service import ServiceConfig, open_service

        task = open_task(self.task)
        tools = () if self.no_tools else ServiceConfig().tools
        with open_service(self.model, ServiceConfig(n_slots=16, tools=tools)) as service:
            score, answers = examine(service, task, limit=self.limit or None)
        for answer in [answer for answer in answers if not answer.correct][: self.show]:
            print(f"asked     {answer.question.prompt.messages[-1].text}")
            print(f"expected  {answer.question.answer}")
            print(f"said      {answer.transcript}\n")
        used = sum(answer.used_tool for answer in answers)
        table([{"task": self.task, "right": str(score), "used a tool": used}])
        return 0

    def _choose(self, path: Path) -> int:
        from trueformer.evaluation.multiple_choice import read_choices, score_choices
        from trueformer.load import load_model

        questions = read_choices(path)
        scores = score_choices(load_model(self.model), questions)
        table([{"accuracy": str(scores.summed), "normalised by bytes": str(scores.per_byte)}])
        return 0

    def _predict(self) -> int:
        from trueformer.evaluation.bits_per_byte import evaluate
        from trueformer.evaluation.text import validation_split, whole_text
        from trueformer.load import load_model

        loaded = load_model(self.model)
        if loaded.tokenizer is None:
            raise ValueError(
                f"{self.model} has no tokenizer, so no text can be measured: add a tokenizer.json"
            )
        if self.source:
            tokens = whole_text(self.source, loaded.tokenizer)
            seq_len = self.seq_len or min(512, loaded.config.max_len)
        else:
            tokens, data = validation_split(Path(self.model), loaded.tokenizer)
            seq_len = self.seq_len or data.seq_len
        result = evaluate(
            loaded.model,
            tokens,
            loaded.tokenizer,
            batch_size=self.batch_size,
            seq_len=seq_len,
            max_batches=self.max_batches or None,
        )
        table(
            [
                {
                    "bits a byte": f"{result.bits_per_byte:.4f}",
                    "nats a token": f"{result.nats_per_token:.4f} ± {result.standard_error:.4f}",
                    "perplexity": f"{result.perplexity:.2f}",
                    "tokens": result.tokens,
                    "bytes": result.bytes,
                }
            ]
        )
        return 0
