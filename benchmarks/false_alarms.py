"""How often the doctor speaks up over sound code: our own stack, other people's models, torch's own.

    python benchmarks/false_alarms.py

Every preset at a small width and every kind of model, optimizer and dtype of the stack with all its parts; the two
foreign subjects with all theirs; small random models of the transformers package and torch's own layers. Prints a table,
and each law that was broken. Advice is counted apart: it is no failure.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "peers"), str(HERE.parent / "tests" / "subjects")]

import gpt2_like
import llama_like
import zoo
from measure import hardware

from trueformer import presets
from trueformer.doctor.check import check
from trueformer.doctor.report import Report
from trueformer.hunt.subject import KINDS, stack
from trueformer.laws.law import Verdict

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
SMALL = {
    "d_model": 64,
    "n_layers": 2,
    "n_heads": 4,
    "head_dim": None,
    "vocab_size": 100,
    "max_len": 64,
    "d_ff": None,
}
Subjects = Iterator[tuple[str, Callable[[], dict[str, Any]]]]


def of_stack() -> Subjects:
    """Every kind, backend and optimizer, whole."""
    for number, kind in enumerate(KINDS):
        for backend in ("plain", "fast"):
            for optimizer in ("adamw", "muon", "adamuon"):
                chosen = {**kind, "backend": backend, "optimizer": optimizer}
                yield f"kind {number}, {backend}, {optimizer}", lambda chosen=chosen: stack(**chosen)


def of_presets() -> Subjects:
    """Every named shape, made small, in three dtypes."""
    from trueformer.models.decoder import DecoderLM

    for name in ("gpt2", "llama3", "qwen3", "smollm2"):
        for dtype in DTYPES:

            def build(name: str = name, dtype: torch.dtype = dtype) -> dict[str, Any]:
                heads = {} if name == "gpt2" else {"n_kv_heads": 2}
                torch.manual_seed(0)
                model = DecoderLM(getattr(presets, name)(**{**SMALL, **heads}))
                for parameter in model.parameters():
                    parameter.data = parameter.data.to(dtype)
                return {"model": model}

            yield f"{name}, {dtype}".replace("torch.", ""), build


def of_foreign() -> Subjects:
    """The two foreign subjects, whole."""
    for module in (gpt2_like, llama_like):

        def build(module: Any = module) -> dict[str, Any]:
            model = module.build()
            return {"model": model, "build": module.build, **module.parts(model)}

        yield module.__name__, build


def of_zoo() -> Subjects:
    """Other people's models, in two dtypes."""
    for name, build in zoo.FAMILIES.items():
        for dtype in DTYPES[:2]:
            yield (
                f"{name}, {dtype}".replace("torch.", ""),
                lambda build=build, dtype=dtype: {"model": build().to(dtype)},
            )


def main() -> None:
    """Examines them all."""
    warnings.simplefilter("ignore")
    print(
        f"{hardware()}\n\n| sound subjects | how many | laws that held | advice | false alarms |\n|---|---|---|---|---|"
    )
    alarms: list[str] = []
    for title, subjects in (
        ("the stack: kinds × backends × optimizers", of_stack()),
        ("the stack: presets × dtypes", of_presets()),
        ("two foreign models with all their parts", of_foreign()),
        ("transformers' and torch's own × dtypes", of_zoo()),
    ):
        reports: list[Report] = []
        for name, build in subjects:
            reports.append(check(**build(), name=name))
            alarms += [f"{name}: {result.line}" for result in reports[-1].broken]
        held = sum(report.counts[Verdict.HOLDS] for report in reports)
        advice, broken = (sum(len(part(report)) for report in reports) for part in (_advice, _broken))
        print(f"| {title} | {len(reports)} | {held} | {advice} | {broken} |", flush=True)
    print("\n" + ("\n".join(f"- {alarm}" for alarm in alarms) or "No false alarm."))


def _advice(report: Report) -> tuple[Any, ...]:
    return report.advice


def _broken(report: Report) -> tuple[Any, ...]:
    return report.broken


if __name__ == "__main__":
    main()
