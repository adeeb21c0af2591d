"""Laws of the groups: every parameter once, none of another model, each with the optimizer that suits it."""

import re

import torch
from torch import Tensor, nn

from trueformer.laws.law import Evidence, law
from trueformer.laws.optimizer_bench import (
    SIDE,
    benches,
    graded,
    held,
    kind_of,
    names_of,
    optimizers,
    settings,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

FLAT = 0.19  # least to largest singular value: Newton-Schulz leaves them between 0.3 and 1.6


def _missing(subject: Subject) -> dict[str, Tensor]:
    inside = {id(p) for p in held(subject)}
    return {n: p for n, p in subject.model.named_parameters() if p.requires_grad and id(p) not in inside}


@law(
    "optimizer/holds-the-model",
    statement="The optimizer holds parameters of this model.",
    source="PyTorch, torch.optim: construct it of the parameters it is to move",
    looks="Counts its parameters that are the model's own, by identity.",
    tolerance="At least one.",
    symptoms="The loss does not fall by anything but chance; no error.",
    causes="Built for another copy of the model, before it was copied or loaded; a second optimizer that is never used.",
    needs=("optimizer",),
)
def holds_the_model(subject: Subject) -> Evidence:
    """`step()` moves the tensors that the optimizer was given. `model = copy.deepcopy(model)` makes new ones."""
    names, parameters = names_of(subject), held(subject)
    count = sum(id(p) in names for p in parameters)
    return Evidence(
        measured=float(count), bound=1.0, at_least=True, unit="parameters", where="its groups",
        saw="" if count else f"none of its {len(parameters)} parameters belongs to this model",
    )  # fmt: skip


@law(
    "optimizer/no-strangers",
    statement="The optimizer holds no stale copy of one of the model's parameters.",
    source="PyTorch, torch.optim: move the model before constructing the optimizer",
    looks="Counts parameters that are not the model's, as large as ones of the model's that it lacks.",
    tolerance="None. Parameters of something else, such as a learned loss, are legal.",
    symptoms="Some layers never change.",
    causes="A layer replaced, re-tied, or moved by making new parameters after the optimizer was built.",
    needs=("optimizer",),
)
def no_strangers(subject: Subject) -> Evidence:
    """`model.lm_head = nn.Linear(…)` after the optimizer was built leaves it with the old head's weight."""
    names = names_of(subject)
    lacking = {tuple(p.shape): name for name, p in _missing(subject).items()}
    stale = [tuple(p.shape) for p in held(subject) if id(p) not in names and tuple(p.shape) in lacking]
    return Evidence(
        measured=float(len(stale)), bound=0.0, unit="parameters", where=lacking[stale[0]] if stale else "its groups",
        saw=f"it holds a {stale[0]} that is not the model's" if stale else "",
    )  # fmt: skip


@law(
    "optimizer/every-parameter",
    statement="Every trainable parameter is in a group.",
    source="PyTorch, torch.optim",
    looks="Looks each parameter with requires_grad up in the groups; tied ones count once.",
    tolerance="None: what is not to be trained says so with requires_grad_(False).",
    symptoms="Part of the model stays at its random beginning, and the rest learns around it.",
    causes="Groups chosen by name or shape that leave one out: biases, norms, a new layer.",
    needs=("optimizer",),
)
def every_parameter(subject: Subject) -> Evidence:
    """Groups of `"weight" in name` and `"bias" in name` miss a parameter called `scale`."""
    missing = list(_missing(subject))
    return Evidence(
        measured=float(len(missing)), bound=0.0, unit="parameters", where=missing[0] if missing else "its groups",
        saw=f"{len(missing)} trainable parameters are in no group" if missing else "",
    )  # fmt: skip


@law(
    "optimizer/once",
    statement="No parameter is in the groups twice.",
    source="PyTorch, torch.optim.Optimizer.add_param_group",
    looks="Counts each parameter in all groups of all optimizers.",
    tolerance="None.",
    symptoms="Some layers take double steps, with twice the decay.",
    causes="A tied weight listed under both names; overlapping filters; two optimizers of one model.",
    needs=("optimizer",),
)
def once(subject: Subject) -> Evidence:
    """A tied embedding is found as `wte.weight` and as `lm_head.weight`: one tensor, two names, and two steps."""
    names, seen = names_of(subject), [id(p) for p in held(subject)]
    again = sorted({key for key in seen if seen.count(key) > 1}, key=seen.index)
    return Evidence(
        measured=float(len(again)), bound=0.0, unit="parameters",
        where=names.get(again[0], "a parameter") if again else "its groups",
        saw=f"{len(again)} parameters are in the groups more than once" if again else "",
    )  # fmt: skip


@law(
    "optimizer/no-frozen",
    statement="The optimizer holds nothing that is frozen.",
    source="PyTorch, torch.optim",
    looks="Counts its parameters with requires_grad=False.",
    tolerance="None.",
    symptoms="Memory for moments of what never moves; decay of what should stay, in some optimizers.",
    causes="Frozen after the optimizer was built, or not filtered.",
    needs=("optimizer",),
    advice=True,
)
def no_frozen(subject: Subject) -> Evidence:
    """Adam keeps two numbers for each weight it holds: for 100 million frozen ones, 800 MB of zeros."""
    names = names_of(subject)
    frozen = [names.get(id(p), "a parameter") for p in held(subject) if not p.requires_grad]
    return Evidence(
        measured=float(len(frozen)), bound=0.0, unit="parameters", where=frozen[0] if frozen else "its groups",
        saw=f"{len(frozen)} frozen parameters are in its groups" if frozen else "",
    )  # fmt: skip


@law(
    "optimizer/matrices",
    statement="Muon moves hidden matrices only: no embedding, no head, no vector.",
    source="Jordan 2024, Muon: an optimizer for hidden layers",
    looks="Finds which parameters it moves with a flat spectrum or declares for Muon, and what they are.",
    tolerance="None.",
    symptoms="Poor dynamics: rare tokens' rows move as far as frequent ones'.",
    causes="Groups exchanged, or split by `ndim == 2` alone, which embeddings are too.",
    needs=("optimizer",),
)
def matrices(subject: Subject) -> Evidence:
    """An embedding's gradient has rows for the tokens of the batch only; made orthogonal, every row moves alike."""
    others, moved = _not_hidden(subject), []
    for trial in benches(subject):
        moves = trial.step(graded)
        for i, change in enumerate(moves):
            declared = kind_of(trial.optimizer, trial.groups[i]) in ("muon", "adamuon")
            if declared or (change.ndim == 2 and min(change.shape) >= 4 and flatness(change) >= FLAT):
                moved.append(trial.names[i])
    if not moved:
        raise NotApplicable("no parameter is moved as Muon moves")
    wrong = [name for name in moved if name in others]
    return Evidence(
        measured=float(len(wrong)), bound=0.0, unit="parameters", where=wrong[0] if wrong else f"{len(moved)} matrices",
        saw=f"Muon moves {wrong[0]}, which is {others[wrong[0]]}" if wrong else "",
    )  # fmt: skip


def flatness(change: Tensor) -> float:
    """The least singular value of a matrix as a share of the largest; 0 where it is not finite."""
    if not change.isfinite().all():
        return 0.0
    values = torch.linalg.svdvals(change.double())
    return float(values[-1] / values[0]) if values[0] > 0 else 0.0


def _not_hidden(subject: Subject) -> dict[str, str]:
    """What Muon is not for, by the names of parameters."""
    names, kinds = names_of(subject), {}
    for module in subject.model.modules():
        if isinstance(module, nn.Embedding) and id(module.weight) in names:
            kinds[names[id(module.weight)]] = "an embedding"
    for name, p in subject.model.named_parameters():
        if p.ndim < 2:
            kinds[name] = "a vector"
        elif p.ndim == 2 and p.shape[0] == subject.vocab_size and p.shape[0] > SIDE:
            square = p.shape[1] == subject.vocab_size
            kinds.setdefault(name, "a hidden matrix" if square else "the head or an embedding")
    return {name: kind for name, kind in kinds.items() if kind != "a hidden matrix"}


@law(
    "optimizer/groups-as-named",
    statement="A group that is named after embeddings or hidden layers holds what its name says.",
    source="Jordan 2024, Muon: hidden matrices and embeddings learn at rates, and by rules, of their own",
    looks="Reads the names of the groups: no hidden matrix among embeddings, no embedding or head among hidden layers.",
    tolerance="None. Groups without names are not judged, nor are names that deny, such as no_embeddings.",
    symptoms="Poor dynamics: matrices move at the rate of embeddings.",
    causes="The lists exchanged where groups are made; a test for the layer's type turned round.",
    needs=("optimizer",),
)
def groups_as_named(subject: Subject) -> Evidence:
    """Adam moves every weight by about the rate: 0.3 suits an embedding, and ruins a matrix whose weights are 0.02."""
    names, others = names_of(subject), _not_hidden(subject)
    judged, wrong = 0, []
    for group in (group for o in optimizers(subject) for group in o.param_groups):
        named = str(group.get("name", "")).lower()
        inside = [names[id(p)] for p in group["params"] if id(p) in names and p.ndim == 2]
        if re.search(r"no|and|other|rest|,", named) or not re.search(r"embed|hidden", named):
            continue
        judged += 1
        if "hidden" in named:
            wrong += [(name, named) for name in inside if name in others]
        else:
            wrong += [(n, named) for n in inside if n not in others and not re.search(r"emb|pos|w[tp]e", n)]
    if not judged:
        raise NotApplicable("no group is named after embeddings or hidden layers")
    return Evidence(
        measured=float(len(wrong)), bound=0.0, unit="parameters", where=wrong[0][0] if wrong else f"{judged} groups",
        saw=f"{wrong[0][0]} is in the group {wrong[0][1]!r}" if wrong else "",
    )  # fmt: skip


@law(
    "optimizer/decays-matrices",
    statement="Weight decay is for matrices; biases and norms go without.",
    source="GPT-3, arXiv:2005.14165, app. B, and nearly every public training code since",
    looks="Counts vectors in groups with decay.",
    tolerance="None. With decay on them training goes on, a little worse.",
    symptoms="Norms are pulled towards zero, and the layers after them with it.",
    causes="One group for everything.",
    needs=("optimizer",),
    advice=True,
)
def decays_matrices(subject: Subject) -> Evidence:
    """A norm's weight begins at 1 and is meant to be about 1: decay pulls it to 0, which no data asked for."""
    names = names_of(subject)
    decayed = [
        names.get(id(p), "a parameter")
        for o in optimizers(subject)
        for group in o.param_groups
        if settings(group)["weight_decay"] > 0
        for p in group["params"]
        if p.ndim < 2 and p.requires_grad
    ]
    return Evidence(
        measured=float(len(decayed)), bound=0.0, unit="vectors", where=decayed[0] if decayed else "its groups",
        saw=f"{len(decayed)} vectors are in groups with weight decay" if decayed else "",
    )  # fmt: skip


@law(
    "optimizer/settings",
    statement="Rates, betas, epsilon and decay are in the ranges that anyone trains with.",
    source="ranges over the public recipes from GPT-2 to 2025, with room",
    looks="Reads them from the groups.",
    tolerance="lr at most 0.1 for Adam, beta1 from 0.5, beta2 from 0.8 and not below beta1, epsilon to 0.01, decay to 1.",
    symptoms="Divergence, or no movement.",
    causes="Betas exchanged; 3e4 for 3e-4; a decay meant as 1 - decay.",
    needs=("optimizer",),
    advice=True,
)
def odd_settings(subject: Subject) -> Evidence:
    """betas=(0.999, 0.9) is the usual pair exchanged: a gradient is then remembered for 1000 steps, its size for 10."""
    odd = [
        word
        for o in optimizers(subject)
        for group in o.param_groups
        for word in _odd(kind_of(o, group), settings(group))
    ]
    return Evidence(
        measured=float(len(odd)), bound=0.0, unit="settings", where="its groups", saw=", ".join(odd[:3])
    )


def _odd(kind: str, of: dict[str, float]) -> list[str]:
    ranges = {
        "lr": (0.0, 0.1 if "adam" in kind else 100.0),
        "eps": (0.0, 1e-2),
        "weight_decay": (0.0, 1.0),
        "momentum": (0.0, 0.9999),
    }
    if "adam" in kind and kind != "adamuon" and "beta1" in of:
        ranges |= {"beta1": (0.5, 0.9999), "beta2": (max(0.8, of["beta1"] - 0.05), 0.99999)}
    return [
        f"{name}={of[name]:g}"
        for name, (low, high) in ranges.items()
        if name in of and not low <= of[name] <= high
    ]
