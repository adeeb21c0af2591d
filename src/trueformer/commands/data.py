"""`trueformer data`: which corpora there are, making token shards, looking at documents as tokens."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from trueformer.commands.show import show_conversation, table
from trueformer.commands.train import DataOptions
from trueformer.data.config import DataConfig

Source = tyro.conf.Positional[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """List the named corpora."""

    def run(self) -> int:
        """Print one row a corpus; returns the exit code."""
        from trueformer.data.describe import named_corpora

        table([{"corpus": name, "what it is": about} for name, about in named_corpora().items()])
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """Cut a source into token shards, once: doing it again finds them.

    Try: trueformer data prepare notes/ --vocab-size 2048
    """

    source: Source = "shakespeare"
    """A named corpus, a file, a folder or a glob."""
    options: DataOptions
    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compare every shard with its SHA-256."""

    def run(self) -> int:
        """Prepare and print the counts; returns the exit code."""
        from trueformer.data.describe import counts
        from trueformer.data.shards import prepare

        data = prepare(DataConfig(source=self.source, **self.options), check=self.check)
        table(counts(data), title=str(data.folder))
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Show:
    """Print the first documents, a bar between tokens; of conversations, trained tokens are coloured.

    Try:
      trueformer data show shakespeare --count 2
      trueformer data show arithmetic --model runs/calculator
      trueformer data show chats.jsonl --model smollm2
    """

    source: Source = "shakespeare"
    """A named corpus, a file, a folder or a glob."""
    options: DataOptions
    count: int = 3
    """Documents."""
    longest: int = 200
    """Tokens of each at most."""
    model: str = ""
    """Show conversations (a task, or a JSONL file) as this model is taught them."""

    def run(self) -> int:
        """Prepare, then print; returns the exit code."""
        if self.model:
            return self._conversations()
        return self._documents()

    def _conversations(self) -> int:
        from rich.console import Console

        from trueformer.data.chats.sources import gather
        from trueformer.load import load_model
        from trueformer.training.finetune import taught_format

        conversations = gather([self.source])
        chat = taught_format(load_model(self.model), self.model, conversations)
        for conversation in conversations[: self.count]:
            show_conversation(Console(), chat, conversation, longest=self.longest)
        return 0

    def _documents(self) -> int:
        from rich.console import Console

        from trueformer.data.describe import first_documents
        from trueformer.data.shards import prepare

        data = prepare(DataConfig(source=self.source, **self.options))
        console = Console()
        for pieces in first_documents(data.train, data.tokenizer, count=self.count, longest=self.longest):
            console.rule(f"{len(pieces)} tokens", align="left")
            console.print("[dim]│[/]".join(p.replace("[", "\\[") for p in pieces), highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Look at and prepare text."""

    action: (
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[Show, tyro.conf.subcommand("show")]
    )

    def run(self) -> int:
        """Run the action; returns the exit code."""
        return self.action.run()
