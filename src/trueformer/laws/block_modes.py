"""Blocks: dropout on and off, weights that are shared or alike, and what a pass leaves of its input."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trueformer.laws.block_parts import blocks, in_evaluation, passages, short_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject
from trueformer.subject.trace import Event, Trace

DROPOUTS = nn.modules.dropout._DropoutNd
DROPOUT = "Srivastava et al. 2014, JMLR 15:1929-1958"


def _drawn(subject: Subject, model: nn.Module, seed: int) -> Tensor:
    """Logits of a pass whose random numbers begin at `seed`."""
    with random_numbers_kept(), torch.no_grad():
        torch.manual_seed(seed)
        return subject.interface.call(model, short_ids(subject, 2)).logits


def _moved(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))


@law(
    "block/dropout-off",
    statement="In evaluation mode a pass draws no random numbers.",
    source=f"{DROPOUT}, §10",
    looks="Makes two passes in evaluation mode with different seeds and compares the logits.",
    tolerance="1e-6 of the largest logit: they are equal to the last bit, dropout moves them by more than 1e-3.",
    symptoms="Evaluation differs from run to run; generated text is worse than the loss promises.",
    causes="`F.dropout(x, p)` or `dropout_p=p` that is not gated by `self.training`.",
    needs=("logits",),
)
def dropout_off(subject: Subject) -> Evidence:
    """`F.dropout(x, p)` has training=True by default, and `scaled_dot_product_attention(…, dropout_p=p)` asks nobody.

    Write `dropout_p=p if self.training else 0.0`.
    """
    model = in_evaluation(subject)
    moved = _moved(_drawn(subject, model, 1), _drawn(subject, model, 2))
    broken = moved > 1e-6
    return Evidence(
        measured=moved,
        bound=1e-6,
        where=_first_random(subject, model) if broken else "",
        saw="two passes in evaluation mode differ when the seed does" if broken else "",
    )


def _first_random(subject: Subject, model: nn.Module) -> str:
    """The first block whose output the seed moves."""
    try:
        paths = blocks(subject)
    except NotApplicable:
        return ""
    with passages(model, paths) as seen:
        _drawn(subject, model, 1)
        _drawn(subject, model, 2)
    differ = [p for p in paths if p in seen and not torch.equal(seen[p][0].gave, seen[p][-1].gave)]
    return differ[0] if differ else "outside of the blocks"


@law(
    "block/dropout-on",
    statement="Where dropout is set, training mode drops.",
    source=DROPOUT,
    looks="Makes two passes in training mode with different seeds; at least one module says a rate above zero.",
    tolerance="1e-6 of the largest logit: dropout moves them by more than 1e-3.",
    symptoms="The model overfits as if there were no dropout.",
    causes="Dropout built and not called; `training=False`; `.eval()` that is never undone.",
    needs=("logits",),
)
def dropout_on(subject: Subject) -> Evidence:
    """`self.drop = nn.Dropout(0.1)` does nothing until `x = self.drop(x)`."""
    model = subject.copied().train()
    where = next(_rates(model), None)
    if where is None:
        raise NotApplicable("no module says a rate of dropout above zero")
    moved = _moved(_drawn(subject, model, 1), _drawn(subject, model, 2))
    saw = "two passes in training mode with different seeds are equal" if moved < 1e-6 else ""
    return Evidence(measured=moved, bound=1e-6, at_least=True, where=where, saw=saw)


def _rates(model: nn.Module) -> Iterator[str]:
    """The places of rates of dropout between 0 and 1."""
    for path, module in model.named_modules():
        names = ("p",) if isinstance(module, DROPOUTS) else ()
        names += tuple(name for name in vars(module) if "dropout" in name.lower())
        for name in names:
            value = getattr(module, name)
            if isinstance(value, float) and 0 < value < 1:
                yield f"{path}.{name}" if path else name


@law(
    "block/dropouts-used",
    statement="Every module of dropout with a rate above zero drops.",
    source=DROPOUT,
    looks="Gives each module of dropout a rate of its own, watches a pass in training mode, and looks for rates "
    "that no operation got, of modules whose parent ran.",
    tolerance="0 modules: a rate is passed on as it is.",
    symptoms="The model overfits a little sooner than its configuration lets one think.",
    causes="One of several dropouts is built and not called.",
    needs=("logits",),
)
def dropouts_used(subject: Subject) -> Evidence:
    """GPT-2 drops in four places: embeddings, weights of attention, and what each of two layers adds.

    With `return self.c_proj(y)` in place of `return self.resid_dropout(self.c_proj(y))` three are left, and two
    passes still differ.
    """
    model = subject.copied().train()
    modules = {p: m for p, m in model.named_modules() if isinstance(m, DROPOUTS) and 0 < m.p < 1}
    for i, module in enumerate(modules.values(), 1):
        module.p = 0.5 * i / (len(modules) + 1)
    trace = subject.trace(short_ids(subject, 2), model)
    ran = [path for path in modules if path.rpartition(".")[0] in trace.inputs]
    if not ran:
        raise NotApplicable("no module of dropout with a rate above zero stands in a module that ran")
    idle = _idle({path: round(modules[path].p, 9) for path in ran}, trace)
    saw = "no operation drops at its rate" if idle else ""
    return Evidence(measured=len(idle), bound=0, unit="modules", where=idle[0] if idle else "", saw=saw)


def _idle(rates: dict[str, float], trace: Trace) -> list[str]:
    """The modules whose rate was used nowhere, nor another one in their place by the module that holds them.

    Fused attention often gets a rate that was kept beside the module that plain attention would use.
    """
    dropped = [(event.path, round(rate, 9)) for event in trace.events for rate in _rates_of(event)]
    used = {rate for _, rate in dropped}
    others = [path for path, rate in dropped if rate not in rates.values()]
    idle = []
    for path in (path for path, rate in rates.items() if rate not in used):
        holder = path.rpartition(".")[0]
        if holder in others:
            others.remove(holder)
        else:
            idle.append(path)
    return idle


def _rates_of(event: Event) -> list[float]:
    """The rate at which an operation drops: a fused one gets it, others draw what stays."""
    numbers = [arg for arg in event.args if isinstance(arg, float)]
    if event.op == "bernoulli":
        return [1 - number for number in numbers]
    return numbers if "dropout" in event.op else []


@law(
    "block/inputs-kept",
    statement="A pass changes neither the ids nor the targets it gets.",
    source="The caller's tensors are the caller's",
    looks="Makes a pass, with targets where the model takes them, and compares both with what they were.",
    tolerance="0 ids changed.",
    symptoms="A batch that is used twice, as in accumulation or evaluation, is another one the second time.",
    causes="`targets[targets == pad] = -100`, `ids.clamp_()` or `ids += 1` in the forward pass.",
    needs=("logits",),
)
def inputs_kept(subject: Subject) -> Evidence:
    """`labels[labels == 0] = -100` writes into the loader's batch. `labels.masked_fill(labels == 0, -100)` does not."""
    model, ids = in_evaluation(subject), short_ids(subject, 2)
    ids[:, -1] = 0 if subject.claims.pad_id is None else subject.claims.pad_id
    targets = ids.clone().long() if subject.interface.targets else None
    given = [(name, t, t.clone()) for name, t in (("ids", ids), ("targets", targets)) if t is not None]
    subject.call(model, ids, targets)
    changed = [(name, int((now != was).sum())) for name, now, was in given]
    name, n = max(changed, key=lambda pair: pair[1])
    saw = f"the pass wrote into the {name} it was given" if n else ""
    return Evidence(measured=n, bound=0, unit="ids", where=name if n else "", saw=saw)


@law(
    "block/own-weights",
    statement="Each block has weights of its own.",
    source="Lan et al. 2020, arXiv:1909.11942, §3.1, share them on purpose",
    looks="Looks for a parameter that two blocks hold.",
    tolerance="0 parameters: sharing them is legal, but seldom meant.",
    symptoms="The model is smaller than its configuration says, and learns less.",
    causes="`[Block()] * n`, which is one block n times.",
    needs=("logits",),
    advice=True,
)
def own_weights(subject: Subject) -> Evidence:
    """`nn.ModuleList([Block()] * 12)` has the weights of one block; `nn.ModuleList(Block() for _ in range(12))` of 12."""
    names: dict[int, list[str]] = {}
    for path in _standing(subject):
        for parameter in subject.model.get_submodule(path).parameters():
            names.setdefault(id(parameter), []).append(path)
    shared = [paths for paths in names.values() if len(paths) > 1]
    where = " and ".join(shared[0][:2]) if shared else ""
    saw = "two blocks hold the same parameter" if shared else ""
    return Evidence(measured=len(shared), bound=0, unit="parameters", where=where, saw=saw)


def _standing(subject: Subject) -> list[str]:
    """The blocks in the order in which they stand, one that stands twice twice."""
    by_parent: dict[str, None] = dict.fromkeys(path.rpartition(".")[0] for path in blocks(subject))
    return [
        f"{parent}.{name}" if parent else name
        for parent in by_parent
        for name, child in subject.model.get_submodule(parent)._modules.items()
        if child is not None
    ]


@law(
    "block/distinct-start",
    statement="No two blocks hold equal matrices.",
    source="Goodfellow et al. 2016, Deep Learning, §8.4: initialisation breaks symmetry",
    looks="Compares each block's matrices with those of the same name in the others.",
    tolerance="0 pairs of equal matrices that are not zero or constant.",
    symptoms="Blocks learn alike at first; training is a little slower.",
    causes="Blocks copied from one, as `nn.TransformerEncoder` does; the same seed set for each.",
    needs=("logits",),
    advice=True,
)
def distinct_start(subject: Subject) -> Evidence:
    """`copy.deepcopy(block)` copies the random numbers too. Draw each block's weights anew."""
    seen: dict[tuple[object, ...], tuple[str, Tensor]] = {}
    equal: list[str] = []
    for path in dict.fromkeys(blocks(subject)):
        for name, parameter in subject.model.get_submodule(path).named_parameters():
            if parameter.ndim < 2 or parameter.is_meta or bool((parameter == parameter.flatten()[0]).all()):
                continue
            key = (name, tuple(parameter.shape), float(parameter.detach().flatten()[:64].double().sum()))
            first = seen.setdefault(key, (path, parameter))
            if first[1] is not parameter and torch.equal(first[1], parameter):
                equal.append(f"{first[0]} and {path}: {name}")
    saw = "two blocks hold equal matrices" if equal else ""
    return Evidence(measured=len(equal), bound=0, unit="pairs", where=equal[0] if equal else "", saw=saw)
