"""How many mechanical mutants the foreign models have, and which of them are mutants at all.

    python benchmarks/mutants/classify.py [--list]

Each runs in float64 with the clean model's parameters, stirred so that none is zero or one:

    crash      raises when it is built, called or differentiated
    same       gives the clean model's logits and gradients to 1e-12 on every input, in both modes, cached or not
    rounding   gives them to 1e-5 of the largest: another precision somewhere
    setting    another number in the configuration: another model, not a wrong one
    start      differs in its first weights alone
    changed    is for the doctor to find

Refusals of wrong input and other dtypes are not looked at, so some of `same` are changes there.
"""

import argparse
import ast
import sys
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from mutants.operators import mutants

SUBJECTS = Path(__file__).parent.parent.parent / "tests" / "subjects"
KINDS = ("crash", "same", "rounding", "setting", "start", "changed")
EXACT, ROUNDED = 1e-12, 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One mechanical mutant of a subject's model part, and what became of it."""

    file: str
    said: str
    line: int
    source: str
    kind: str


def classified(name: str) -> Iterator[Case]:
    """Every mechanical mutant of the model part of `tests/subjects/NAME.py`, run and compared."""
    source = (SUBJECTS / f"{name}.py").read_text(encoding="utf-8")
    last = next(i for i, line in enumerate(source.splitlines(), 1) if line.startswith("def build"))
    clean, settings = load(source), configuration_lines(source)
    weights = stirred(clean.build())
    wanted, start = behaviour(clean, weights), clean.build().state_dict()
    for said, line, text in mutants(source):
        if line < last:
            kind = kind_of(text, weights, wanted, start)
            if kind == "changed" and line in settings:
                kind = "setting"
            yield Case(file=name, said=said, line=line, source=text, kind=kind)


def configuration_lines(source: str) -> set[int]:
    """The lines of dataclasses, which hold the sizes of the model."""
    classes = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.decorator_list
    ]
    return {line for node in classes for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def kind_of(source: str, weights: dict[str, Tensor], wanted: list[Tensor], start: dict[str, Tensor]) -> str:
    """What became of one mutant."""
    try:
        module = load(source)
        found = behaviour(module, weights)
        first = module.build().state_dict()
    except Exception:  # noqa: BLE001 - any error a mutant makes is a crash
        return "crash"
    if not same(found, wanted, EXACT):
        return "rounding" if same(found, wanted, ROUNDED) else "changed"
    return "same" if same(list(first.values()), list(start.values()), EXACT) else "start"


def load(source: str) -> Any:
    """The subject's module from its text."""
    module = types.ModuleType("subject_under_edit")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, module.__name__, "exec"), module.__dict__)
    return module


def stirred(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters with noise on every number, in float64; its buffers are each mutant's own."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: p.detach().double() + 0.3 * torch.randn(p.shape, generator=generator).double()
        for name, p in model.named_parameters()
    }


def behaviour(module: Any, weights: dict[str, Tensor]) -> list[Tensor]:
    """Logits and gradients over inputs of several shapes, in both modes, and with a cache where there is one."""
    model = module.build().double()
    if model.load_state_dict(weights, strict=False).unexpected_keys:
        raise ValueError("parameters of other names")
    generator = torch.Generator().manual_seed(1)
    results: list[Tensor] = []
    for rows, length in ((1, 1), (3, 7), (2, 24), (1, 64)):
        ids = torch.randint(0, 101, (rows, length), generator=generator)
        for training in (False, True):
            model.train(training).zero_grad()
            torch.manual_seed(0)
            results += outputs(model, ids)
            results[-1].square().sum().backward()
            results += [torch.zeros(()) if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [result.detach() for result in results + cached(model.eval(), ids)]


def outputs(model: nn.Module, ids: Tensor) -> list[Tensor]:
    """Whatever the model gives for these ids: in one style also with targets, some of them ignored."""
    if not hasattr(model, "wpe"):
        return [model(ids)]
    targets = ids.roll(1, dims=1)
    targets[:, 1::5] = -1
    logits, loss = model(ids, targets)
    return [model(ids)[0], loss, logits]


@torch.no_grad()
def cached(model: nn.Module, ids: Tensor) -> list[Tensor]:
    """Logits of the pieces of a text, one after the other."""
    if not hasattr(model, "reset_cache"):
        return []
    pieces = [model(ids[:, a:b], start_pos=a) for a, b in ((0, 9), (9, 10), (10, 17))]
    model.reset_cache()
    return pieces


def same(found: list[Tensor], wanted: list[Tensor], bound: float) -> bool:
    """Whether all numbers agree, up to a share of the largest of their tensor."""
    return len(found) == len(wanted) and all(
        a.shape == b.shape
        and bool(((a.double() - b.double()).abs() <= bound * (1e-3 + b.double().abs().max())).all())
        for a, b in zip(found, wanted, strict=True)
    )


def main(show: Callable[[str], None] = print) -> None:
    """Prints one row a subject."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="every mutant with what became of it")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    show(f"{'subject':12}" + "".join(f"{kind:>9}" for kind in (*KINDS, "all")))
    for name in ("gpt2_like", "llama_like"):
        counts: Counter[str] = Counter()
        for case in classified(name):
            counts[case.kind] += 1
            if wanted.list:
                show(f"{case.kind:8} {case.file}.py:{case.line} {case.said}")
        row = [counts[kind] for kind in KINDS]
        show(f"{name:12}" + "".join(f"{count:9}" for count in (*row, sum(row))))


if __name__ == "__main__":
    main()
