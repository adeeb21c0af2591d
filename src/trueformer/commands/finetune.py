"""`trueformer finetune`: teach a base model to converse."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import tyro

from trueformer.commands.show import si
from trueformer.commands.train import LoopOptions, OptimOptions, split_optim
from trueformer.data.config import ChatConfig
from trueformer.models.config import LoraConfig
from trueformer.presets import finetune_run

if TYPE_CHECKING:
    from trueformer.data.chats.task import Task
    from trueformer.evaluation.examination import Score
    from trueformer.models.loaded import LoadedModel
    from trueformer.training.config import FinetuneConfig
    from trueformer.training.finetune import Start


class ChatOptions(TypedDict, total=False):
    """The conversations."""

    seq_len: int
    """Tokens a row, into which whole conversations are packed (the model's most, up to 1024)."""
    val_fraction: float
    """Share of conversations held out, by hash (0.05)."""
    skip_bad: int
    """Lines of a file that may be unreadable (0)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finetune:
    """Teach a base model to converse: JSONL in OpenAI's or ShareGPT's format, or built-in tasks.

    Only what the assistant writes is learned. Held-out questions of tasks are asked before and after.

    Try:
      trueformer finetune runs/shakespeare arithmetic --out runs/calculator
      trueformer finetune smollm2 chats.jsonl identity:Ada*20 --lora-rank 16
      trueformer finetune --resume --out runs/calculator
    """

    base: tyro.conf.Positional[str] = ""
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    sources: tyro.conf.Positional[tuple[str, ...]] = ()
    """JSONL files, and tasks: arithmetic[:SIZE], gsm8k:FOLDER, chatterbot, spelling[:SIZE], identity[:NAME];
    a task's name and *COUNT repeats it."""
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("runs/chat")
    """The run folder."""
    epochs: float = 1.0
    """Passes over the conversations, where --steps is not given."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank beside frozen weights; 0: every weight."""
    lora_alpha: float = 0.0
    """Scale of the adapters; 0: twice the rank."""
    examine: int = 200
    """Held-out questions of each task to ask before and after; 0: none."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in the folder, exactly where it was saved."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Throw away the run that is in the folder."""
    data: ChatOptions = field(default_factory=ChatOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    loop: LoopOptions = field(default_factory=LoopOptions)

    def run(self) -> int:
        """Fine-tune, and say how held-out questions were answered; returns the exit code."""
        from trueformer.training.finetune import finetune
        from trueformer.training.run_folder import check_claim

        if self.resume:
            return self._resume()
        if self.base is None or not self.sources:
            raise ValueError(
                "expected a base and what to learn: trueformer finetune runs/shakespeare arithmetic"
            )
        check_claim(self.out, resume=False, overwrite=self.overwrite)
        start = self._start(self.base)
        config = self._config(start)
        _show(config, start)
        tasks = _tasks(self.sources) if self.examine else []
        before = [_score(start.loaded(), task, self.examine) for task in tasks]
        result = finetune(config, start, self.out, overwrite=self.overwrite)
        _report(self.out, tasks, before, self.examine if result.exit_code == 0 else 0)
        print(f"{result.reason} at step {result.step}; the run is in {self.out}")
        return result.exit_code

    def _resume(self) -> int:
        from trueformer.training.config import FinetuneConfig
        from trueformer.training.finetune import resume_finetuning
        from trueformer.training.run_folder import saved_config

        if self.base is not None or self.overwrite:
            raise ValueError(
                "--resume goes on with what the folder says: leave out base, data and --overwrite"
            )
        config = saved_config(self.out)
        if not isinstance(config, FinetuneConfig):
            raise ValueError(f"{self.out} was pretrained: resume it with `trueformer train --resume`")
        config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, **self.loop))
        result = resume_finetuning(config, self.out)
        tasks = _tasks(config.data.sources) if self.examine else []
        _report(self.out, tasks, [None] * len(tasks), self.examine if result.exit_code == 0 else 0)
        print(f"{result.reason} at step {result.step}; the run is in {self.out}")
        return result.exit_code

    def _start(self, base: str) -> "Start":
        from trueformer.load import load_model
        from trueformer.training.finetune import LARGEST_ROW, start_from

        loaded = load_model(base)
        options: dict[str, Any] = {"seq_len": min(LARGEST_ROW, loaded.config.max_len)} | dict(self.data)
        return start_from(loaded, base, ChatConfig(sources=self.sources, **options))

    def _config(self, start: "Start") -> "FinetuneConfig":
        lora = None
        if self.lora_rank:
            lora = LoraConfig(rank=self.lora_rank, alpha=self.lora_alpha or 2.0 * self.lora_rank)
        elif self.lora_alpha:
            raise ValueError("--lora-alpha needs --lora-rank: give both, or neither")
        optim, schedule = split_optim(self.optim)
        return finetune_run(
            start.model.config,
            start.config,
            base=start.base,
            rows=start.rows,
            epochs=self.epochs,
            lora=lora,
            train_embedding=lora is None or start.new_tokens > 0,
            optim=optim,
            schedule=schedule,
            loop=self.loop,
        )


def _show(config: "FinetuneConfig", start: "Start") -> None:
    from trueformer.models.size import count_parameters

    how = "every weight" if config.lora is None else f"adapters of rank {config.lora.rank}"
    grown = f", {start.new_tokens} special tokens added" if start.new_tokens else ""
    print(
        f"base      {start.base}: {si(count_parameters(start.model.config).total)} parameters, {how}{grown}"
    )
    print(f"data      {start.data.train.counts}")
    print(f"held out  {start.data.held_out.counts}")
    tokens = config.data.seq_len
    print(f"plan      {config.loop.steps} steps of {config.loop.batch_size} rows of {tokens} tokens")


def _tasks(sources: tuple[str, ...]) -> list["Task"]:
    """The tasks among the sources that have questions."""
    from trueformer.data.chats.registry import open_tasks

    names = [source for source in sources if not Path(source).expanduser().is_file()]
    tasks = [share.task for share in open_tasks(names)]
    return [task for task in tasks if task.held_out()]


def _score(loaded: "LoadedModel", task: "Task", limit: int) -> "Score":
    from trueformer.evaluation.examination import examine
    from trueformer.inference.service import Service, ServiceConfig

    with Service(loaded, ServiceConfig(n_slots=16)) as service:
        return examine(service, task, limit=limit)[0]


def _report(out: Path, tasks: list["Task"], before: Sequence["Score | None"], limit: int) -> None:
    """Print how held-out questions were answered before and after."""
    from trueformer.commands.show import table
    from trueformer.load import load_model

    if not tasks or not limit:
        return
    rows = []
    for task, score in zip(tasks, before, strict=True):
        after = _score(load_model(out), task, limit)
        rows.append({"held-out questions": task.name, "before": str(score or "-"), "after": str(after)})
    table(rows, title="answered right, greedily, with tools (95 % interval)")
