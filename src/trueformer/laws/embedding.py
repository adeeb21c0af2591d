"""Embeddings and the head: used, of one size, and tied where they say so.

Tying is in `embedding_tied.py`. Shapes: B rows, T tokens, V vocabulary, D the width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trueformer.laws import embedding_tied as embedding_tied
from trueformer.laws.block_parts import scratch, short_ids
from trueformer.laws.embedding_table import embedded, random_rows, rows_of, table, table_or_none
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject

MANY = 2048  # ids that are looked up when all of them are compared


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
    if table_or_none(subject) is not None:
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
    """A tied table has a gradient even so: each row is a column of the head. Its input counts."""
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


def _targets(subject: Subject, ids_BT: Tensor) -> dict[str, Any]:
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
    return Evidence(measured=moved, bound=0.0, where=table_or_none(subject) or "", saw=saw)


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
    if table_or_none(subject) is not None:
        rows = subject.exact.get_parameter(table(subject)).detach()
        ids = ids[ids < len(rows)]
        ids = ids[rows[ids].any(-1)]
    spread = (logits_NV.amax(0) - logits_NV.amin(0))[ids]
    dead = ids[~(torch.isfinite(spread) & (spread > 0))]
    where = f"ids {dead[:5].tolist()}" if len(dead) else ""
    saw = "the logits of these ids do not depend on the text" if len(dead) else ""
    return Evidence(measured=len(dead), bound=0, unit="ids", where=where, saw=saw)
