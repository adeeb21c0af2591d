"""What commands print: plans, results, tables. Leaves out progress, which training prints itself."""

import math
from typing import TYPE_CHECKING, Any

from trueformer.config import to_dict
from trueformer.models.size import count_parameters, training_flops_per_token, training_memory
from trueformer.training.config import RunConfig

if TYPE_CHECKING:
    from rich.console import Console

    from trueformer.tokenization.chat_format import MarkedFormat
    from trueformer.tokenization.conversations import Conversation
    from trueformer.training.run import RunResult


def si(number: int | float, unit: str = "") -> str:
    """A number with three digits and a prefix. Example: si(3_148_800) is "3.15 M"."""
    if number < 1000:
        return f"{number:.3g} {unit}".rstrip()
    power = min(int(math.log10(number)) // 3, 6)
    return f"{number / 1000**power:.3g} {'_kMGTPE'[power]}{unit}"


def table(rows: list[dict[str, Any]], title: str | None = None) -> None:
    """Print rows of equal keys as a table, numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", header_style="bold")
    for key, value in rows[0].items():
        grid.add_column(key, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        grid.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    Console().print(grid)


def show_summary(config: RunConfig) -> None:
    """Print what is about to be trained, in four lines; config.json holds every value."""
    model, loop, optim = config.model, config.loop, config.optim
    tokens = loop.steps * loop.batch_size * config.data.seq_len
    rates = ", ".join(
        f"{group} {getattr(optim, f'lr_{group}'):.3g}"
        for group in ("matrices", "embeddings", "vectors", "head")
        if group != "head" or not model.tied
    )
    print(f"model     {_shape(config)}")
    print(
        f"data      {config.data.source}, rows of {config.data.seq_len} tokens × {loop.batch_size}, "
        f"{loop.steps} steps, {si(tokens)} tokens"
    )
    print(
        f"optimizer {optim.name}, rates {rates}; "
        f"{config.schedule.kind} after {config.schedule.warmup_steps} steps"
    )


def _shape(config: RunConfig) -> str:
    model = config.model
    return (
        f"{si(count_parameters(model).total)} parameters: {model.n_layers} layers × {model.d_model} wide, "
        f"{model.n_heads} heads of {model.head_dim} ({model.n_kv_heads} for keys), {model.feed_forward} of "
        f"{model.d_ff}, vocabulary {model.vocab_size}"
    )


def show_plan(config: RunConfig) -> int:
    """Print the whole configuration with parameters, FLOPs and memory; returns exit code 0."""
    for part, values in to_dict(config).items():
        print(f"[{part}]")
        for key, value in values.items():
            print(f"  {key:<20} {'none' if value is None else value}")
    data, loop = config.data, config.loop
    count = count_parameters(config.model)
    flops = training_flops_per_token(config.model, data.seq_len)
    tokens = loop.steps * loop.batch_size * data.seq_len
    memory = training_memory(
        config.model,
        tokens=(loop.micro_batch_size or loop.batch_size) * data.seq_len,
        optimizer=config.optim.name,
        parameter_bytes=2 if loop.parameters == "bf16" else 4,
        compute_bytes=2 if loop.precision == "bf16" else 4,
        masters=config.optim.bf16_updates == "master",
        loss_chunk=loop.loss_chunk,
    )
    print("[plan]")
    print(f"  parameters           {si(count.total)} ({si(count.non_embedding)} without embeddings)")
    print(f"  FLOPs a token        {si(flops)}")
    print(f"  tokens               {si(tokens)} ({si(flops * tokens, 'FLOP')} in all)")
    print(
        f"  memory               {si(memory.total, 'B')}: parameters {si(memory.parameters, 'B')}, gradients "
        f"{si(memory.gradients, 'B')}, optimizer {si(memory.optimizer, 'B')}, activations about "
        f"{si(memory.activations, 'B')}"
    )
    return 0


def show_result(result: "RunResult") -> None:
    """Print how the run ended and where it lies."""
    if result.evaluation is not None:
        print(
            f"validation {result.evaluation.bits_per_byte:.4f} bits a byte "
            f"({result.evaluation.nats_per_token:.4f} nats a token)"
        )
    print(f"{result.reason} at step {result.step}; the run is in {result.folder} (loss figure: loss.png)")


def show_conversation(
    console: "Console", chat: "MarkedFormat", conversation: "Conversation", *, longest: int
) -> None:
    """Print a conversation token by token: those to be learned green and underlined, the others dim."""
    from rich.text import Text

    ids, trained, _ = chat.render(conversation)
    shown = Text()
    for i, (token, learned) in enumerate(zip(ids[:longest], trained, strict=False)):
        piece = chat.tokenizer.decode([token], skip_special=False).replace("\n", "↵\n")
        shown.append("│" if i else "", style="dim")
        shown.append(piece, style="bold green underline" if learned else "dim")
    console.rule(f"{len(ids)} tokens, {sum(trained)} to learn", align="left")
    console.print(shown)
