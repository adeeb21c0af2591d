"""Training speed on one shape and the same tokens: nanoGPT, transformers with its Trainer, and trueformer.

    git clone https://github.com/karpathy/nanoGPT
    python benchmarks/throughput.py --nanogpt nanoGPT

6 layers × 384 wide, 6 heads, rows of 256 tokens, 16 a step, AdamW, clipping at 1, no dropout, characters.
Every contender lives in a process of its own, set up as its own entry point sets it up, and they take whole
steps (forward, backward, clip, update) in turn, round after round, so that all see the same machine. Also
measured: the machine's bf16 matrix product, to say what share of it is reached.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from measure import print_table, spread

from trueformer.data.config import DataConfig
from trueformer.data.loader import TrainLoader
from trueformer.data.shards import PreparedData, prepare
from trueformer.memory import settle_memory
from trueformer.models.config import DecoderConfig
from trueformer.models.size import training_flops_per_token
from trueformer.optim.config import OptimConfig
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import TextData
from trueformer.training.loop import Trainer
from trueformer.training.randomness import deterministic_kernels
from trueformer.training.run import build_model

LAYERS, WIDTH, HEADS, LENGTH, ROWS = 6, 384, 6, 256, 16
TOKENS = LENGTH * ROWS
CONTENDERS = (
    "nanoGPT",
    "nanoGPT, compiled",
    "transformers Trainer",
    "transformers Trainer, bf16",
    "transformers Trainer, bf16, compiled",
    "trueformer",
)
Step = Callable[[], None]


def trueformer_steps(data: PreparedData, folder: Path) -> Callable[[int], float]:
    """Our trainer on GPT-2's shape: compiled, bf16 autocast, and deterministic kernels, as `train` has it."""
    model = gpt2_shape(data.tokenizer.vocab_size)
    loop = LoopConfig(steps=10**6, batch_size=ROWS, precision="bf16", compile=True)
    config = RunConfig(model=model, data=_data_config(""), optim=OptimConfig(name="adamw"), loop=loop)
    trainer = Trainer(
        config, build_model(model, loop), TextData(data, config.data), folder, device=torch.device("cpu")
    )

    def step() -> None:
        with deterministic_kernels(trainer.device):
            trainer.step()

    return _timed(step)


def gpt2_shape(vocab_size: int) -> DecoderConfig:
    """What all contenders train, as a configuration of ours."""
    return DecoderConfig(
        vocab_size=vocab_size,
        max_len=LENGTH,
        d_model=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        positions="learned",
        norm="layernorm",
        qk_norm=False,
        feed_forward="gelu_tanh",
    )


def nanogpt_steps(path: Path, data: PreparedData, *, compiled: bool) -> Callable[[int], float]:
    """nanoGPT's model and optimizer in its own loop's order; its CPU path has no bf16."""
    sys.path.insert(0, str(path))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    with contextlib.redirect_stdout(None):
        model = GPT(
            GPTConfig(
                block_size=LENGTH,
                vocab_size=data.tokenizer.vocab_size,
                n_layer=LAYERS,
                n_head=HEADS,
                n_embd=WIDTH,
                dropout=0.0,
                bias=False,
            )
        )
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    run = torch.compile(model) if compiled else model
    loader = _loader(data)

    def step() -> None:
        batch = next(loader)
        _, loss = run(batch.inputs_BT, batch.targets_BT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return _timed(step)


def transformers_steps(
    data: PreparedData, folder: Path, *, bf16: bool, compiled: bool
) -> Callable[[int], float]:
    """GPT-2 of transformers under its Trainer; timed from the second step's begin to the last one's end."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=data.tokenizer.vocab_size,
            n_positions=LENGTH,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    loader = _loader(data)
    rows = [batch.inputs_BT[i] for batch in (next(loader) for _ in range(8)) for i in range(ROWS)]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            times.append(time.perf_counter())

    def run(steps: int) -> float:
        times.clear()
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=ROWS,
            max_steps=steps + 1,
            bf16=bf16,
            torch_compile=compiled,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        dataset = [{"input_ids": row, "labels": row} for row in rows]
        Trainer(model=model, args=arguments, train_dataset=dataset, callbacks=[Clock()]).train()
        return (times[-1] - times[0]) / steps

    return run


def _timed(step: Step) -> Callable[[int], float]:
    def run(steps: int) -> float:
        step()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - began) / steps

    return run


def _loader(data: PreparedData) -> TrainLoader:
    return TrainLoader(data.train, batch_size=ROWS, seq_len=LENGTH, seed=0)


def _data_config(text: str) -> DataConfig:
    return DataConfig(source=text or "shakespeare", tokenizer="char", seq_len=LENGTH)


def peak_gflops() -> float:
    """The best bf16 matrix product of a few large shapes, in GFLOP/s: the machine's measured peak."""
    rates = []
    for m, k, n in ((4096, 384, 1536), (4096, 1536, 384), (2048, 2048, 2048)):
        a, b = torch.randn(m, k).bfloat16(), torch.randn(k, n).bfloat16()
        for _ in range(3):
            a @ b
        for _ in range(10):
            began = time.perf_counter()
            a @ b
            rates.append(2 * m * k * n / (time.perf_counter() - began) / 1e9)
    return max(rates)


def steps_of(name: str, nanogpt: Path, data: PreparedData, folder: Path) -> Callable[[int], float]:
    """Build a contender: a function that takes so many steps and returns the seconds of one."""
    compiled, bf16 = "compiled" in name, "bf16" in name
    if name.startswith("nanoGPT"):
        return nanogpt_steps(nanogpt, data, compiled=compiled)
    if name.startswith("transformers"):
        return transformers_steps(data, folder, bf16=bf16, compiled=compiled)
    return trueformer_steps(data, folder)


def contend(name: str, nanogpt: Path, text: str, pipe: Connection) -> None:
    """A contender's process: it warms up, then takes as many steps as it is told to, until that is none."""
    warnings.simplefilter("ignore")
    if name == "trueformer":
        settle_memory()
    with tempfile.TemporaryDirectory() as folder:
        run = steps_of(name, nanogpt, prepare(_data_config(text)), Path(folder))
        run(2)
        pipe.send("ready")
        while steps := pipe.recv():
            pipe.send(run(steps))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nanogpt", type=Path, required=True, help="a clone of nanoGPT")
    parser.add_argument("--text", default="shakespeare", help="a named corpus or a text file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="timed steps a round")
    arguments = parser.parse_args()
    vocab_size = prepare(_data_config(arguments.text)).tokenizer.vocab_size
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in CONTENDERS:
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(
            target=contend, args=(name, arguments.nanogpt, arguments.text, theirs), daemon=True
        ).start()
        pipes[name].recv()  # one after another: compiling takes every core
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    peak = [peak_gflops()]
    for round_ in range(arguments.rounds):
        for name, pipe in pipes.items():
            pipe.send(arguments.steps)
            seconds[name].append(pipe.recv())
            print(f"round {round_ + 1}: {name} {TOKENS / seconds[name][-1]:.0f} tokens/s", file=sys.stderr)
        peak.append(peak_gflops())
    for pipe in pipes.values():
        pipe.send(0)
    report(seconds, max(peak), vocab_size)


def report(seconds: dict[str, list[float]], peak: float, vocab_size: int) -> None:
    """Print tokens a second, the ratio to ours round by round, and the share of the measured peak."""
    flops = training_flops_per_token(gpt2_shape(vocab_size), LENGTH) * TOKENS / 1e9
    ours = seconds["trueformer"]
    rows = [
        {
            "": name,
            "tokens/s": spread([TOKENS / t for t in times], 4),
            "trueformer is faster by": spread([t / o for t, o in zip(times, ours, strict=True)]),
            f"GFLOP/s (peak {peak:.0f})": f"{flops / statistics.median(times):.0f}",
            "share of peak": f"{flops / statistics.median(times) / peak:.0%}",
        }
        for name, times in seconds.items()
    ]
    print_table(f"Training, {LAYERS} layers × {WIDTH} wide, {ROWS} rows of {LENGTH} tokens", rows)


if __name__ == "__main__":
    main()
