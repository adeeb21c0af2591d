"""Peak memory and time of a training step at a large vocabulary: sliced loss against all logits at once.

    python benchmarks/loss_memory.py                 # about 5 minutes; needs 8 GB of free memory
    python benchmarks/loss_memory.py --precision float32

Each side runs in a process of its own, same weights, same tokens: two whole steps (forward, backward, AdamW),
the second one timed. Memory is the process's peak of resident memory as the kernel counts it, torch itself
included, and again above what was resident with model and optimizer built but no step taken.
"""

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCAB, WIDTH, LAYERS, ROWS, LENGTH = 49_152, 576, 2, 16, 512


def sides() -> dict:
    """Name to a function from (model, ids, targets) to the mean loss."""
    import torch.nn.functional as F
    from torch import nn

    from trueformer.training.loss import token_loss

    def sliced(model, ids, targets):
        total, n_tokens = token_loss(model.hidden(ids), model.head_weight, targets)
        return total / n_tokens

    def unchunked(model, ids, targets):
        return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())

    def torch_chunked(model, ids, targets):
        hidden = model.hidden(ids).flatten(0, 1)
        head, options = model.head_weight.to(hidden.dtype), nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(hidden, head, targets.flatten(), options=options)

    known = {"unchunked": unchunked, "ours, sliced": sliced}
    if hasattr(F, "linear_cross_entropy"):  # torch 2.13
        known["torch, chunked"] = torch_chunked
    return known


def peak_mib() -> float:
    """This process's peak of resident memory so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # not inherited from the parent, as getrusage's is
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def child(side: str, precision: str) -> None:
    """Two training steps of one side; prints what was measured as JSON."""
    import torch

    from trueformer.models.config import DecoderConfig
    from trueformer.models.decoder import DecoderLM
    from trueformer.optim.build import build_optimizer
    from trueformer.optim.config import OptimConfig

    torch.manual_seed(0)
    config = DecoderConfig(vocab_size=VOCAB, max_len=LENGTH, d_model=WIDTH, n_layers=LAYERS, n_heads=9)
    model, loss_of = DecoderLM(config), sides()[side]
    optimizers = build_optimizer(model, OptimConfig(name="adamw", lr_matrices=1e-3, lr_embeddings=1e-3))
    ids = torch.randint(VOCAB, (ROWS, LENGTH + 1))
    resting = peak_mib()
    for _ in range(2):
        began = time.perf_counter()
        optimizers.zero_grad()
        low = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with low:
            loss = loss_of(model, ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizers.step(1.0)
        seconds = time.perf_counter() - began
    peak = peak_mib()
    print(json.dumps({"peak": peak, "step": peak - resting, "seconds": seconds, "loss": loss.item()}))


def measure(runs: int, precision: str) -> dict[str, list[dict[str, float]]]:
    """`runs` results of each side, the sides taking turns."""
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides()}
    for _ in range(runs):
        for side, found in results.items():
            command = [sys.executable, __file__, "--child", side, "--precision", precision]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", choices=["bf16", "float32"], default="bf16")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.precision)
    from measure import print_table, spread

    results = measure(options.runs, options.precision)
    base = {
        key: statistics.median(r[key] for r in results["unchunked"]) for key in ("peak", "step", "seconds")
    }
    rows = []
    for side, found in results.items():
        row = {"loss": side}
        for key, heading in (("peak", "peak MiB"), ("step", "above rest MiB"), ("seconds", "step s")):
            values = [r[key] for r in found]
            row[heading] = spread(values, 4)
            row[f"of unchunked ({key})"] = f"{statistics.median(values) / base[key]:.2f}"
        row["loss after a step"] = f"{statistics.median(r['loss'] for r in found):.4f}"
        rows.append(row)
    print_table(
        f"Training step, vocabulary {VOCAB:,}, {ROWS * LENGTH:,} tokens, {LAYERS} layers x {WIDTH}, "
        f"{options.precision}; median (lowest–highest) of {options.runs} processes",
        rows,
    )


if __name__ == "__main__":
    main()
