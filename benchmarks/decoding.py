"""Decoding speed of SmolLM2-135M at batch 1, greedy: transformers and trueformer, eager, compiled and int8.

    python benchmarks/decoding.py

One prompt of real text and 128 new tokens a run, the prompt's pass included. The contenders take turns, round
after round, in one process, so that all see the same machine. Compiling is timed apart, before the first
round. Also measured in each round: what the memory gives to all cores, to say what share of it is reached;
and each one's loss on real text, to see what precision costs. Needs the extras `hf` and `dev`.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import print_table, spread
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, CompileConfig
from transformers.utils import logging

from trueformer.data.corpora import open_corpus
from trueformer.inference.compiled import CompiledDecoder
from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.quantize import quantize_int8
from trueformer.load import load_model, smollm2_path

PROMPT = "The history of the printing press begins long before Gutenberg, with wood blocks cut by hand,"
TEXT_TOKENS = 1024
GREEDY = SamplingConfig(temperature=0.0)


@dataclass(kw_only=True)
class Contender:
    """Something that continues a prompt: `run(n)` gives the n new ids."""

    name: str
    run: Callable[[int], list[int]]
    loss: float  # nats a token on real text
    bytes_a_token: int  # weights read for each
    prepared_in: float = 0.0  # seconds before the first token, compiling for the most part
    seconds: list[float] = field(default_factory=list)


def loss_of(logits: Callable[[Tensor], Tensor], ids_T: list[int]) -> float:
    """Mean nats a token after the first."""
    with torch.inference_mode():
        logits_TV = logits(torch.tensor([ids_T]))[0, :-1].float()
    return float(F.cross_entropy(logits_TV, torch.tensor(ids_T[1:])))


def weight_bytes(model: nn.Module) -> int:
    """What one token reads of the weights: all but an embedding table that is not the head as well."""
    tensors = {id(t): t.nbytes for t in [*model.parameters(), *model.buffers()] if t.dim() > 0}
    embedding = next(m for m in model.modules() if isinstance(m, nn.Embedding)).weight
    heads = [m for name, m in model.named_modules() if name.split(".")[-1] in ("head", "lm_head")]
    tied = all(getattr(head, "weight", None) is embedding for head in heads)
    tables = sum(b.nbytes for name, b in model.named_buffers() if "rotary" in name)
    return sum(tensors.values()) - tables - (0 if tied else embedding.nbytes)


def peer(dtype: torch.dtype, prompt: list[int], text: list[int], *, compiled: bool) -> Contender:
    """`generate` of transformers; compiled: with its static cache and its own way of compiling the step."""
    path = smollm2_path()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype).eval()
    model.generation_config.eos_token_id = None  # nobody stops before the last token
    ids, options = torch.tensor([prompt]), {}
    if compiled:
        compiling = CompileConfig(mode="default")
        compiling._compile_all_devices = True  # it compiles on accelerators only, unless told
        options = {"cache_implementation": "static", "compile_config": compiling}

    def run(n: int) -> list[int]:
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=n,
                do_sample=False,
                pad_token_id=0,
                **options,
            )
        return out[0, len(prompt) :].tolist()

    name = f"transformers {_name(dtype)}" + (", static cache, compiled" if compiled else "")
    loss = loss_of(lambda ids: model(ids).logits, text)
    return Contender(name=name, run=run, loss=loss, bytes_a_token=weight_bytes(model))


def ours(
    dtype: torch.dtype, prompt: list[int], text: list[int], tokens: int, *, compiled: bool, int8: bool = False
) -> Contender:
    """trueformer, eager or through a `CompiledDecoder`."""
    model = load_model("smollm2", dtype=dtype).model
    model = quantize_int8(model) if int8 else model
    begun = time.perf_counter()
    steps = CompiledDecoder(model, max_len=len(prompt) + tokens) if compiled else model
    prepared_in = time.perf_counter() - begun if compiled else 0.0

    def run(n: int) -> list[int]:
        return generate(steps, [prompt], GREEDY, max_new_tokens=n)[0].ids

    kind = f"{'int8' if int8 else _name(dtype)}{', compiled' if compiled else ''}"
    return Contender(
        name=f"trueformer {kind}",
        run=run,
        loss=loss_of(model, text),
        bytes_a_token=weight_bytes(model),
        prepared_in=prepared_in,
    )


def _name(dtype: torch.dtype) -> str:
    return "bf16" if dtype == torch.bfloat16 else "float32"


def memory_bandwidth(buffer: Tensor) -> float:
    """Bytes a second that all cores together read: the best of three sums over more than any cache holds."""
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        buffer.sum()
        best = min(best, time.perf_counter() - begun)
    return buffer.nbytes / best


def measure(contenders: list[Contender], rounds: int, tokens: int) -> float:
    """Fill in everybody's seconds, in turns; the median bandwidth of all rounds."""
    buffer, bandwidths = torch.ones(2**28), []
    for contender in contenders:  # the first call of each pays for what is made once
        begun = time.perf_counter()
        contender.run(tokens)
        if "compiled" in contender.name:
            contender.prepared_in += time.perf_counter() - begun
    for i in range(rounds):
        bandwidths.append(memory_bandwidth(buffer))
        for contender in contenders:
            begun = time.perf_counter()
            ids = contender.run(tokens)
            contender.seconds.append(time.perf_counter() - begun)
            assert len(ids) == tokens, "everybody makes as many tokens"
        print(f"round {i + 1} of {rounds}", flush=True)
    return statistics.median(bandwidths)


def table(contenders: list[Contender], tokens: int, bandwidth: float) -> list[dict[str, str]]:
    """A row a contender; ratios are of medians, to the better of transformers' plain dtypes."""
    speeds = {c.name: statistics.median(tokens / s for s in c.seconds) for c in contenders}
    reference = max(speeds[f"transformers {dtype}"] for dtype in ("float32", "bf16"))
    return [
        {
            "": c.name,
            "tokens/s": spread([tokens / s for s in c.seconds]),
            "× transformers": f"{speeds[c.name] / reference:.2f}",
            "GB/s of weights": f"{c.bytes_a_token * speeds[c.name] / 1e9:.1f}",
            "of memory": f"{c.bytes_a_token * speeds[c.name] / bandwidth:.0%}",
            "compiling, s": f"{c.prepared_in:.0f}" if c.prepared_in else "",
            "nats/token": f"{c.loss:.4f}",
        }
        for c in contenders
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--without-compiled-peer", action="store_true", help="saves minutes of compiling")
    args = parser.parse_args()
    logging.set_verbosity_error()
    tokenizer = load_model("smollm2").tokenizer
    assert tokenizer is not None
    prompt = tokenizer.encode(PROMPT)
    scenes = open_corpus("shakespeare", Path(tempfile.gettempdir())).documents()
    text = tokenizer.encode("".join(itertools.islice(scenes, 4)))[:TEXT_TOKENS]
    bf16, float32 = torch.bfloat16, torch.float32
    contenders = [peer(dtype, prompt, text, compiled=False) for dtype in (float32, bf16)]
    if not args.without_compiled_peer:
        contenders.append(peer(bf16, prompt, text, compiled=True))
    contenders += [ours(dtype, prompt, text, args.tokens, compiled=False) for dtype in (float32, bf16)]
    contenders += [ours(bf16, prompt, text, args.tokens, compiled=True, int8=int8) for int8 in (False, True)]
    bandwidth = measure(contenders, args.rounds, args.tokens)
    rows = table(contenders, args.tokens, bandwidth)
    same = contenders[0].run(args.tokens) == ours(float32, prompt, text, args.tokens, compiled=False).run(
        args.tokens
    )
    print_table(f"SmolLM2-135M, batch 1, {args.tokens} new tokens, {args.rounds} rounds", rows)
    print(f"Memory reads at {bandwidth / 1e9:.1f} GB/s on all cores.")
    print(f"In float32 both say the same {args.tokens} tokens: {'yes' if same else 'NO'}.")


if __name__ == "__main__":
    main()
