"""Embeddings: head and embedding that are one matrix, and stay one."""

import copy
from collections.abc import Iterator

import torch
from torch import nn

from trueformer.laws.block_gradients import backward
from trueformer.laws.block_parts import in_evaluation, short_ids
from trueformer.laws.embedding_table import table
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject
from trueformer.subject.trace import storage_of

SAYS_TIED = (
    "tie_word_embeddings",
    "tied",
    "tie_weights",
    "tie_embeddings",
    "weight_tying",
    "tied_embeddings",
)
TYING = "Press and Wolf 2017, arXiv:1608.05859"


@law(
    "embedding/tied",
    statement="Tied embeddings stay tied: when copied, converted, and saved and loaded.",
    source=TYING,
    looks="Where head and embedding share their memory, or the configuration says so, looks whether copies still do.",
    tolerance="0 ways to part.",
    symptoms="The optimizer moves two matrices where there should be one; a loaded model has another head.",
    causes="Tying by `head.weight.data = embedding.weight.data`, at one moment, or from outside of the module.",
    needs=("logits",),
)
def tied(subject: Subject) -> Evidence:
    """`head.weight = embedding.weight` is one parameter with two names, and stays so.

    `head.weight.data = embedding.weight.data` is two parameters that share memory until one is copied.
    """
    names = _names_of_head(subject)
    said = _says_tied(subject.model)
    if not names and not said:
        raise NotApplicable("head and embedding are not tied, and nothing says they should be")
    if not names:
        parted = [] if _used_as_head(subject) else ["from the start"]
    else:
        parted = [way for way, model in _ways(subject) if not _same(model, names)]
    return Evidence(
        measured=len(parted),
        bound=0,
        unit="ways",
        where=f"{table(subject)}: {', '.join(parted)}" if parted else table(subject),
        saw="head and embedding are two matrices" if parted else "",
    )


def _names_of_head(subject: Subject) -> list[str]:
    """The names under which the model holds the table's memory, where there are several."""
    named = dict(subject.model.named_parameters(remove_duplicate=False))
    own = named[table(subject)]
    names = [name for name, p in named.items() if p.shape == own.shape and p.data_ptr() == own.data_ptr()]
    return names if len(names) > 1 else []


def _same(model: nn.Module, names: list[str]) -> bool:
    named = dict(model.named_parameters(remove_duplicate=False))
    return len({id(named[name]) for name in names}) == 1


def _says_tied(model: nn.Module) -> bool:
    for owner in (getattr(model, name, None) for name in ("config", "cfg", "args")):
        config = getattr(owner, "get_text_config", lambda owner=owner: owner)()
        if any(getattr(config, name, None) is True for name in SAYS_TIED):
            return True
    return False


def _used_as_head(subject: Subject) -> bool:
    """Whether the table is also what a product reads."""
    storage = storage_of(subject.exact.get_parameter(table(subject)))
    products = subject.passed.named("mm", "addmm", "bmm", "baddbmm")
    return any(storage_of(tensor) == storage for event in products for tensor in event.tensors)


def _ways(subject: Subject) -> Iterator[tuple[str, nn.Module]]:
    """The model after each thing that could part them."""
    copied = subject.copied()
    yield "two parameters that share memory", subject.model
    yield "after deepcopy", copied
    loaded = copy.deepcopy(copied)
    loaded.load_state_dict({name: value.clone() for name, value in copied.state_dict().items()})
    yield "after saving and loading", loaded
    yield "after .to(float64)", loaded.to(torch.float64)


@law(
    "embedding/head-learns",
    statement="A tied table learns from both of its uses: every row gets a gradient from the head.",
    source=TYING,
    looks="Goes back once from the cross-entropy and counts rows of a tied table without a gradient.",
    tolerance="0 rows: the softmax sends a gradient to every id, also to those that are not in the batch.",
    symptoms="The model learns much slower than it should, and rare tokens least.",
    causes="`F.linear(x, embedding.weight.detach())`; tying by a copy of the numbers.",
    needs=("logits",),
)
def head_learns(subject: Subject) -> Evidence:
    """Of 50257 ids a batch holds a few hundred. Through the head each of the others is pushed down a little, too."""
    name = table(subject)
    reached = backward(subject).reached.get(name)
    if reached is None or not _used_as_head(subject):
        raise NotApplicable("head and embedding are not tied, or frozen")
    saw = "rows of the table get no gradient from the head" if reached.idle else ""
    return Evidence(measured=reached.idle, bound=0, unit="rows", where=name, saw=saw)


@law(
    "embedding/tied-values",
    statement="A model that is saved and loaded has the logits it had.",
    source=TYING,
    looks="Changes every number of a copy, loads the model's state_dict into it, and compares the logits.",
    tolerance="0: the same numbers in the same order.",
    symptoms="A resumed run begins at a worse loss; an exported model speaks nonsense.",
    causes="A head that is left out when saved and not tied again; a load that renames or transposes.",
    needs=("logits",),
)
def tied_values(subject: Subject) -> Evidence:
    """What `state_dict` leaves out, because it is tied, must come back when the rest is loaded."""
    model = in_evaluation(subject)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in {value.data_ptr(): value for value in other.state_dict().values()}.values():
            if value.is_floating_point():
                value.mul_(1.5).add_(0.1)
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    ids = short_ids(subject)
    before, after = subject.logits(ids, model), subject.logits(ids, other)
    moved = float((before - after).abs().max())
    saw = "after loading, the logits are not what they were" if moved else ""
    return Evidence(measured=moved, bound=0.0, where="state_dict", saw=saw)
