"""Speed of learning on tiny Shakespeare: nanoGPT's CPU recipe against recipes of ours, by the clock.

    git clone https://github.com/karpathy/nanoGPT
    python benchmarks/learning.py --nanogpt nanoGPT --text tiny_shakespeare.txt      # some 15 minutes
    … --rounds 0 --long                                    # how low ours gets with more time: 8 minutes

Trained on the first 90 % of the characters, measured on all of the last 10 %, in nats per character. A time
is that of a whole process: imports, learning the tokenizer, training, saving. nanoGPT is measured as it
measures itself, in rows of its 64 characters, and again in rows that overlap by half; the lower figure is the
one to reach. Ours charges every token to the characters, the special ones between documents too.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import print_table, spread

CPU_RECIPE = (
    "--device=cpu --compile=False --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 "
    "--max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 --eval_interval=2000 --eval_iters=1"
)

SHORT = "--steps 60 --batch-size 16 --seq-len 128 --vocab-size 1024 --depth 3 --d-model 128 --n-heads 2"
EQUAL = "--steps 450 --batch-size 16 --seq-len 128 --vocab-size 2048 --depth 3 --d-model 192 --n-heads 3"
LONG = (
    "--steps 1000 --batch-size 16 --seq-len 256 --vocab-size 2048 --depth 4 --d-model 256 --n-heads 4 "
    "--weight-decay 1.0"
)


def split(text: Path, folder: Path) -> tuple[Path, Path]:
    """The first 90 % of the characters and the rest, as two files."""
    characters = text.read_text(encoding="utf-8")
    cut = int(len(characters) * 0.9)
    parts = folder / "train.txt", folder / "validation.txt"
    for part, content in zip(parts, (characters[:cut], characters[cut:]), strict=True):
        part.write_text(content, encoding="utf-8")
    return parts


def nanogpt(path: Path, train: Path, validation: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds of nanoGPT's training process, and its loss in plain and in half-overlapping rows."""
    data = path / "data" / "shakespeare_char"
    texts = [file.read_text(encoding="utf-8") for file in (train, validation)]
    characters = sorted(set("".join(texts)))
    index = {c: i for i, c in enumerate(characters)}
    for name, text in zip(("train", "val"), texts, strict=True):
        np.array([index[c] for c in text], dtype=np.uint16).tofile(data / f"{name}.bin")
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": index}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))
    command = ["train.py", "config/train_shakespeare_char.py", *CPU_RECIPE.split(), f"--out_dir={folder}"]
    seconds = timed([sys.executable, *command], path)
    ids = torch.tensor([index[c] for c in texts[1]])
    return seconds, *nanogpt_loss(path, folder / "ckpt.pt", ids)


def nanogpt_loss(path: Path, checkpoint: Path, ids: torch.Tensor) -> tuple[float, float]:
    """Nats per character of all of `ids` (but the first) in rows of 64, apart and overlapping by half."""
    sys.path.insert(0, str(path))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    return rows_loss(model, ids, stride=64), rows_loss(model, ids, stride=32)


@torch.inference_mode()
def rows_loss(model: torch.nn.Module, ids: torch.Tensor, *, stride: int, length: int = 64) -> float:
    """Every character but the first is predicted once, from the row it is newest in."""
    total, done = 0.0, 1
    for start in range(0, len(ids) - 1, stride):
        row = ids[start : start + length + 1]
        logits, _ = model(row[None, :-1], row[None, 1:])
        new = start + len(row) - done
        if new > 0:
            total += torch.nn.functional.cross_entropy(logits[0, -new:], row[-new:], reduction="sum").item()
            done += new
    assert done == len(ids), "every character is predicted once"
    return total / (len(ids) - 1)


def ours(
    recipe: str, train: Path, validation: Path, folder: Path, evaluations: int = 1
) -> tuple[float, float]:
    """Seconds of our training process on an empty cache, and its best checkpoint's nats per character."""
    run, cache = folder / "run", folder / "cache"
    command = [sys.executable, "-m", "trueformer", "train", str(train), "--validation", str(validation)]
    command += [*recipe.split(), "--out", str(run), "--cache", str(cache)]
    every = str(int(recipe.split("--steps ")[1].split()[0]) // evaluations)
    command += ["--eval-every", every, "--checkpoint-every", every]
    if evaluations == 1:
        command += ["--eval-batches", "1"]
    return timed(command, folder), trueformer_loss(run, len(validation.read_text(encoding="utf-8")))


def trueformer_loss(run: Path, characters: int) -> float:
    """Nats of all tokens of the validation text over its characters."""
    from trueformer.evaluation.bits_per_byte import evaluate
    from trueformer.evaluation.text import validation_split
    from trueformer.load import load_model

    loaded = load_model(run)
    assert loaded.tokenizer is not None
    tokens, data = validation_split(run, loaded.tokenizer)
    result = evaluate(loaded.model, tokens, loaded.tokenizer, batch_size=16, seq_len=data.seq_len)
    return result.nats / characters


def timed(command: list[str], folder: Path) -> float:
    """Wall seconds of a child process; its output is shown only if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nanogpt", type=Path, required=True, help="a clone of nanoGPT")
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare, one file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="add one longer run of ours")
    arguments = parser.parse_args()
    figures: dict[str, list[tuple[float, ...]]] = {"nanogpt": [], "short": [], "equal": []}
    with tempfile.TemporaryDirectory() as scratch:
        train, validation = split(arguments.text, Path(scratch))
        for round_ in range(arguments.rounds):
            folders = [Path(scratch) / f"{name}-{round_}" for name in figures]
            for folder in folders:
                folder.mkdir()
            seed = f" --seed {round_}"
            figures["nanogpt"].append(nanogpt(arguments.nanogpt.resolve(), train, validation, folders[0]))
            figures["short"].append(ours(SHORT + seed, train, validation, folders[1]))
            figures["equal"].append(ours(EQUAL + seed, train, validation, folders[2]))
            print(json.dumps({name: rows[-1] for name, rows in figures.items()}), file=sys.stderr)
        if arguments.long:
            folder = Path(scratch) / "long"
            folder.mkdir()
            figures["long"] = [ours(LONG, train, validation, folder, evaluations=5)]
    report(figures)


def report(figures: dict[str, list[tuple[float, ...]]]) -> None:
    """Print seconds, losses, and the ratio of times round by round."""
    names = {
        "nanogpt": "nanoGPT, CPU recipe, in rows of 64",
        "short": "trueformer, to nanoGPT's loss",
        "equal": "trueformer, in nanoGPT's time",
        "long": "trueformer, longer",
    }
    rows = []
    for key, name in names.items():
        if not figures.get(key):
            continue
        shares = [f[0] / t[0] for f, t in zip(figures[key], figures["nanogpt"], strict=False)]
        rows.append(
            {
                "": name,
                "seconds": spread([f[0] for f in figures[key]]),
                "nats per character": spread([f[1] for f in figures[key]], 4),
                "share of its time": spread(shares) if shares else "",
            }
        )
        if key == "nanogpt":
            rows.append(
                {
                    **rows[0],
                    "": "… in rows that overlap",
                    "nats per character": spread([f[2] for f in figures[key]], 4),
                }
            )
    print_table("Learning tiny Shakespeare: validation loss over all of the last 10 %", rows)


if __name__ == "__main__":
    main()
