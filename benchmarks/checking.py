"""How long the doctor takes: a model of 10 million parameters, and GPT-2 small (124 million), the whole book.

python benchmarks/checking.py          # 5 rounds of each; targets: 10 s and 60 s on 2 cores
"""

import argparse
import time
import warnings

import torch
from measure import hardware, spread

from trueformer.doctor.check import check
from trueformer.models.decoder import DecoderLM
from trueformer.presets import gpt2

SHAPES = {
    "10 million": {"d_model": 320, "n_layers": 6, "n_heads": 5, "vocab_size": 8192, "max_len": 256},
    "GPT-2 small": {},
}


def main() -> None:
    """Times both."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{hardware()}\n\n| model | parameters | laws judged | seconds |\n|---|---|---|---|")
    for name, shape in SHAPES.items():
        torch.manual_seed(0)
        model = DecoderLM(gpt2(**shape))
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            report = check(model)
            seconds.append(time.perf_counter() - began)
        report.raise_if_broken()
        judged = sum(result.evidence is not None for result in report.results)
        parameters = sum(p.numel() for p in model.parameters())
        print(f"| {name} | {parameters / 1e6:.1f} M | {judged} | {spread(seconds)} |", flush=True)
        for result in sorted(report.results, key=lambda r: -r.seconds)[:5]:
            print(f"    {result.law.id}: {result.seconds:.2f} s")


if __name__ == "__main__":
    main()
