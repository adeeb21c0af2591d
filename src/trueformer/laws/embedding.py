"""Embeddings and the head: used, of one size, and tied where they say so.

Shapes: B rows, T tokens, V vocabulary, D the width.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trueformer.laws.block_gradients import backward
from trueformer.laws.block_parts import in_evaluation, scratch, short_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject
from trueformer.subject.trace import storage_of

MANY = 2048  # ids that are looked up when all of them are compared
SAYS_TIED = (
    "tie_word_embeddings",
    "tied",
    "tie_weights",
    "tie_embeddings",
    "weight_tying",
    "tied_embeddings",
)
TYING = "Press and Wolf 2017, arXiv:1608.05859"


def table(subject: Subject) -> str:
    """The name of the matrix whose rows the ids pick.

    Raises:
        NotApplicable: none is looked up by the ids as they are.
    """
    name = subject.once(_table)
    if name is None:
        raise NotApplicable("no table was seen that the ids are looked up in")
    return name


def _table(subject: Subject) -> str | None:
    storages = {storage_of(p): name for name, p in subject.exact.named_parameters() if p.ndim == 2}
    looked_up = [(event.args[0], event.tainted) for event in subject.passed.named("embedding", "index")]
    for weight, tainted in looked_up:
        if tainted and isinstance(weight, Tensor) and storage_of(weight) in storages:
            return storages[storage_of(weight)]
    return None


def rows_of(subject: Subject) -> int:
    """How many rows that table has."""
    return len(subject.exact.get_parameter(table(subject)))


class _Enough(Exception):
    """Ends a pass once the embeddings are known."""


def embedded(subject: Subject, model: nn.Module, ids_BT: Tensor) -> Tensor:
    """What the module that holds the table gives for these ids; the logits where it is not called.

    Only that much of the pass is made.
    """
    owner = model.get_submodule(table(subject).rpartition(".")[0])
    caught: list[Tensor] = []

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.shape[:2] == ids_BT.shape:
            caught.append(out)
            raise _Enough

    handle = owner.register_forward_hook(leave)
    try:
        return subject.logits(ids_BT, model)
    except _Enough:
        return caught[0]
    finally:
        handle.remove()


@contextmanager
def random_rows(subject: Subject, model: nn.Module) -> Iterator[None]:
    """The table holds random rows inside, so that what is equal is not made so by its numbers."""
    parameter = model.get_parameter(table(subject))
    before = parameter.detach().clone()
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).to(parameter))
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(before)


@law(
    "embedding/covers-vocabulary",
    statement="Embedding and head have a row for every id of the vocabulary.",
    source="An id is a row's number",
    looks="Compares the vocabulary's size with the rows of the table that the ids pick and with the width of the logits.",
    tolerance="0 missing: more rows than ids are legal, they round sizes up.",
    symptoms="A crash at the first rare token, or tokens that can never be predicted.",
    causes="The tokenizer grew by special tokens and the model did not; head and embedding of two configurations.",
    needs=("logits",),
)
def covers_vocabulary(subject: Subject) -> Evidence:
    """A tokenizer of 50257 tokens and four for chat needs 50261 rows on both sides."""
    V = subject.vocab_size or 0
    sizes = {"the head": subject.logits(subject.ids(1, 1)).shape[-1]}
    if subject.once(_table) is not None:
        sizes[table(subject)] = rows_of(subject)
    name = min(sizes, key=lambda name: sizes[name])
    missing = max(V - sizes[name], 0)
    saw = f"{sizes[name]} rows for {V} ids" if missing else ""
    return Evidence(measured=missing, bound=0, unit="ids without a row", where=name, saw=saw)


@law(
    "embedding/distinct",
    statement="Each id picks a row of its own.",
    source="Distinct tokens are distinct inputs",
    looks="Fills the table with random rows and looks for two ids that give the same embedding.",
    tolerance="0 ids: rows of random numbers are never equal.",
    symptoms="Most of the table never trains; some tokens cannot be told apart.",
    causes="`ids % n`, `clamp` or hashing before the lookup, with fewer rows than ids.",
    needs=("logits",),
)
def distinct(subject: Subject) -> Evidence:
    """`ord(c) % 1000` over a table of 16000: ids 1000 apart are one token, and 15000 rows never learn."""
    usual, model = subject.usual_ids, scratch(subject)
    chosen = usual[torch.linspace(0, len(usual) - 1, min(len(usual), MANY)).round().long()]
    n_tokens = min(subject.length, 16)
    n_rows = -(-len(chosen) // n_tokens)
    padded = torch.cat([chosen, chosen[: n_rows * n_tokens - len(chosen)]])
    ids = padded.reshape(n_tokens, n_rows).T.to(subject.ids().device)
    with random_rows(subject, model):
        vectors = embedded(subject, model, ids)
    flat = vectors.transpose(0, 1).flatten(0, 1)[: len(chosen)].flatten(1)
    _, which, counts = torch.unique(flat, dim=0, return_inverse=True, return_counts=True)
    shared = counts[which] > 1
    n = int(shared.sum())
    saw = "different ids have one embedding" if n else ""
    where = f"{table(subject)}, ids {chosen[shared.cpu()][:3].tolist()}…" if n else table(subject)
    return Evidence(measured=n, bound=0, unit="ids", where=where, saw=saw)


@law(
    "embedding/rows-learn",
    statement="The embedding of every token in the batch gets a gradient.",
    source="Bengio et al. 2003, JMLR 3:1137-1155: the vectors are learnt along",
    looks="Goes back from the cross-entropy to what the embedding gave, at each position.",
    tolerance="0 positions without a gradient.",
    symptoms="Embeddings stay as drawn; the model learns slowly and ends worse.",
    causes="`detach()` or `no_grad` around the lookup; a frozen table; only the tied head's use learns.",
    needs=("logits",),
)
def rows_learn(subject: Subject) -> Evidence:
    """A tied table has a gradient even so: each row is a column of the head. It is the gradient of the input that counts."""
    name = table(subject)
    if not dict(subject.model.named_parameters())[name].requires_grad:
        raise NotApplicable(f"{name} is frozen on purpose: requires_grad is False")
    owner = scratch(subject).get_submodule(name.rpartition(".")[0])
    caught: list[Tensor] = []
    handle = owner.register_forward_hook(
        lambda module, args, out: caught.append(out) if isinstance(out, Tensor) else None
    )
    ids, targets = short_ids(subject, 2), subject.ids(2, min(12, subject.length), seed=1)
    try:
        with random_numbers_kept(), torch.enable_grad():
            logits = subject.interface.call(scratch(subject), ids).logits
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            grad = _grad(loss, next((out for out in caught if out.shape[:2] == ids.shape), None))
    finally:
        handle.remove()
    idle = ids.numel() if grad is None else int((~grad.flatten(2).any(-1)).sum())
    saw = "the loss does not depend on these embeddings, as the gradient sees it" if idle else ""
    return Evidence(measured=idle, bound=0, unit="positions", where=name, saw=saw)


def _grad(loss: Tensor, output: Tensor | None) -> Tensor | None:
    if output is None:
        raise NotApplicable("the module that holds the embeddings is not called by itself")
    if not output.requires_grad:
        return None
    return torch.autograd.grad(loss, output, allow_unused=True)[0]


@law(
    "embedding/ids-refused",
    statement="An id beyond the vocabulary is refused.",
    source="Errors should never pass silently (PEP 20)",
    looks="Passes an id that is one beyond the last row of embedding and head.",
    tolerance="0 such ids taken.",
    symptoms="A tokenizer that does not fit the model goes unnoticed: the text is garbled, nothing crashes.",
    causes="`ids % vocab_size` or `ids.clamp(max=…)` before the lookup.",
    needs=("logits",),
)
def ids_refused(subject: Subject) -> Evidence:
    """`nn.Embedding` raises IndexError on the CPU. `embedding(ids % V)` gives token 0's vector for token V."""
    rows = rows_of(subject)
    taken = _takes(subject, max(rows, subject.vocab_size or 0))
    return Evidence(
        measured=int(taken),
        bound=0,
        unit="ids taken",
        where=table(subject),
        saw=f"id {rows} was taken, though there are {rows} rows" if taken else "",
    )


@law(
    "embedding/negative-refused",
    statement="A negative id is refused.",
    source="Errors should never pass silently (PEP 20)",
    looks="Passes the id -1.",
    tolerance="0 such ids taken; models that read -1 or -100 as padding on purpose may ignore this.",
    symptoms="Padding or ignored targets (-100) that slip into the input become real tokens, unseen.",
    causes="`weight[ids]`, which counts negative ids from the end; `clamp(min=0)`.",
    needs=("logits",),
    advice=True,
)
def negative_refused(subject: Subject) -> Evidence:
    """`weight[-100]` is the hundredth row from the end. `F.embedding(ids, weight)` raises."""
    taken = _takes(subject, -1)
    saw = "id -1 was taken" if taken else ""
    return Evidence(measured=int(taken), bound=0, unit="ids taken", where=table(subject), saw=saw)


def _takes(subject: Subject, strange: int) -> bool:
    """Whether a pass goes through with this id in it."""
    ids = short_ids(subject)
    if ids.is_cuda:
        raise NotApplicable("on a GPU such an id ends the process: check the model on the CPU")
    targets = _targets(subject, ids.clone())
    ids[0, ids.shape[1] // 2] = strange
    try:
        subject.logits(ids, scratch(subject), **targets)
    except (IndexError, ValueError, RuntimeError, AssertionError, KeyError):
        return False
    return True


def _targets(subject: Subject, ids_BT: Tensor) -> dict[str, Tensor]:
    """Sound targets for a model that gives all logits only with targets; it is not they that are examined."""
    return {"targets_BT": ids_BT.long()} if subject.interface.needs_targets else {}


@law(
    "embedding/padding-row",
    statement="Where padding has a row of its own, that row is zero.",
    source="torch.nn.Embedding: padding_idx",
    looks="Looks at the row of each nn.Embedding with a padding_idx.",
    tolerance="0: it gets no gradient, so what it holds it holds for ever. Loaded weights may differ on purpose.",
    symptoms="Padding looks like a token wherever a mask is forgotten.",
    causes="Weights drawn anew after the embedding was built, which overwrites the zeros.",
    needs=("logits",),
    advice=True,
)
def padding_row(subject: Subject) -> Evidence:
    """`nn.Embedding(V, D, padding_idx=0)` zeroes row 0; `nn.init.normal_(embedding.weight)` fills it again."""
    rows = {
        path: float(module.weight[module.padding_idx].detach().abs().max())
        for path, module in subject.model.named_modules()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None
    }
    if not rows:
        raise NotApplicable("no embedding has a padding_idx")
    path = max(rows, key=lambda path: rows[path])
    saw = "the padding's embedding is not zero" if rows[path] else ""
    return Evidence(measured=rows[path], bound=0.0, where=path, saw=saw)


@law(
    "embedding/integer-types",
    statement="Ids of 32 and of 64 bits give the same logits.",
    source="torch.nn.functional.embedding takes both",
    looks="Passes the same ids as int64 and as int32.",
    tolerance="0: both pick the same rows.",
    symptoms="The model works with one loader and not with another.",
    causes="Ids that are viewed as another type, or used in arithmetic that overflows.",
    needs=("logits",),
)
def integer_types(subject: Subject) -> Evidence:
    """int32 ids are half the transfer, and as good: only the targets of cross-entropy must be int64."""
    ids = short_ids(subject)
    wide = subject.logits(ids.long())
    try:
        narrow = subject.logits(ids.int(), **_targets(subject, ids))
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise NotApplicable(f"the model takes int64 ids only: {str(error)[:80]}") from error
    moved = float((wide - narrow).abs().max())
    saw = "int32 ids give other logits" if moved else ""
    return Evidence(measured=moved, bound=0.0, where=subject.once(_table) or "", saw=saw)


@law(
    "embedding/predicts-every-id",
    statement="Every id can be predicted: its logit is finite and depends on the text.",
    source="A softmax over the vocabulary",
    looks="Compares the logits of each id over two texts.",
    tolerance="0 ids whose logit is the same everywhere, other than padding and ids whose row is zero.",
    symptoms="Some tokens never appear in generated text; the loss has a floor.",
    causes="A head cut short and padded; a mask of ids that is off by one; ids set to minus infinity.",
    needs=("logits",),
)
def predicts_every_id(subject: Subject) -> Evidence:
    """`F.pad(logits, (0, 3))` gives three tokens the logit 0 for ever, whatever the text says."""
    logits_NV = subject.logits(short_ids(subject, 2)).flatten(0, 1)[:, : subject.vocab_size]
    ids = subject.usual_ids[subject.usual_ids < logits_NV.shape[-1]].to(logits_NV.device)
    if subject.once(_table) is not None:
        rows = subject.exact.get_parameter(table(subject)).detach()
        ids = ids[ids < len(rows)]
        ids = ids[rows[ids].any(-1)]
    spread = (logits_NV.amax(0) - logits_NV.amin(0))[ids]
    dead = ids[~(torch.isfinite(spread) & (spread > 0))]
    where = f"ids {dead[:5].tolist()}" if len(dead) else ""
    saw = "the logits of these ids do not depend on the text" if len(dead) else ""
    return Evidence(measured=len(dead), bound=0, unit="ids", where=where, saw=saw)


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
