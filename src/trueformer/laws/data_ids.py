"""Laws of what is in the batches: ids, shapes, targets, masks, and what marks the ends of documents.

Read are the first batches of a copy of the loader. Shapes: B rows, T tokens.
"""

import torch

from trueformer.laws.data_batches import (
    Batch,
    batches,
    differing,
    first_batches,
    per_batch,
    special_id,
    understood,
)
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ENOUGH = 500  # tokens that say something of the vocabulary
ALLOWED = 0.1  # of the targets: what ends documents and rows


@law(
    "data/not-empty",
    statement="The loader gives batches.",
    source="PyTorch, torch.utils.data: drop_last, __len__",
    looks="Counts the batches that come first.",
    tolerance="At least one.",
    symptoms="A run that ends at once, or trains on nothing, with no error.",
    causes="A text shorter than one row and its target, or a split smaller than a batch with drop_last.",
    needs=("loader",),
)
def not_empty(subject: Subject) -> Evidence:
    """A text of 100 tokens cut in rows of 128 + 1 gives (100 - 1) // 128 = 0 rows, and a loop over them does nothing."""
    try:
        count = len(first_batches(subject))
    except NotApplicable as reason:
        if "gives no batch" not in str(reason):
            raise
        count = 0
    return Evidence(
        measured=float(count), bound=1.0, at_least=True, unit="batches read", where="the loader",
        saw="" if count else "it ends before its first batch",
    )  # fmt: skip


@law(
    "data/integers",
    statement="Ids are whole numbers in a tensor.",
    source="PyTorch, torch.nn.Embedding",
    looks="Looks at the dtypes of the inputs and the targets of the first batches; int32 and int64 are both fine.",
    tolerance="None.",
    symptoms="Errors in the embedding, or lists of text where tensors were meant.",
    causes="A dataset of text whose format was set to torch before it was tokenized; ids that passed through float.",
    needs=("loader",),
)
def integers(subject: Subject) -> Evidence:
    """Ids choose rows of a table: 3.0 chooses none. As float16, ids above 2048 are rounded to even numbers too."""
    wrong = 0
    saw = ""
    for whole in first_batches(subject):
        try:
            batch = understood(whole)
        except NotApplicable as reason:
            wrong, saw = wrong + 1, str(reason)
            continue
        tensors = [t for t in (batch.inputs, batch.targets) if t is not None]
        odd = [t for t in tensors if t.dtype not in INTEGERS]
        if odd:
            wrong, saw = wrong + 1, f"ids are {odd[0].dtype}"
    return Evidence(measured=float(wrong), bound=0.0, unit="batches", where="the loader's batches", saw=saw)


@law(
    "data/in-vocabulary",
    statement="Every id is in the model's vocabulary.",
    source="PyTorch, torch.nn.Embedding: indices from 0 to num_embeddings - 1",
    looks="Compares the inputs and the targets that count with the size of the vocabulary.",
    tolerance="None.",
    symptoms="An index error late in an epoch, an assert on the GPU, or a token that wraps around to another.",
    causes="A tokenizer of another size than the model; special tokens added to one of them only.",
    needs=("loader",),
)
def in_vocabulary(subject: Subject) -> Evidence:
    """A vocabulary of 256 bytes and an end token has 257 ids; a model built for 256 cannot look up id 256."""
    size = subject.vocab_size or 0

    def outside(batch: Batch) -> float:
        wrong = ((batch.inputs < 0) | (batch.inputs >= size)).sum()
        targets = 0 if batch.targets is None else int((batch.targets >= size).sum())
        return float(wrong) + targets

    worst, number = per_batch(outside, batches(subject))
    return Evidence(
        measured=worst, bound=0.0, unit="ids", where=f"batch {number}",
        saw=f"{worst:.0f} ids are not in the vocabulary of {size}" if worst else "",
    )  # fmt: skip


@law(
    "data/uses-vocabulary",
    statement="The ids use the range of the vocabulary.",
    source="Zipf's law leaves rare tokens, not an empty range",
    looks="Takes the highest ordinary id of the first batches, as a share of the vocabulary.",
    tolerance="At least 0.25 after 500 tokens; tokenizers spread common words over their whole range.",
    symptoms="Most of the embedding never trains; distinct characters share an id.",
    causes="`ord(c) % 1000` for a vocabulary of 16,000; another tokenizer than the model was made for.",
    needs=("loader",),
    advice=True,
)
def uses_vocabulary(subject: Subject) -> Evidence:
    """English in ASCII has codes up to 126: of 16,000 rows of an embedding, 15,900 are never read."""
    special = {special_id(subject, name) for name in ("pad", "bos", "eos")}
    size = subject.vocab_size or 1
    seen = torch.cat([batch.inputs.flatten().long().cpu() for batch in batches(subject)])
    ordinary = [i for i in seen.unique().tolist() if i not in special]
    if len(seen) < ENOUGH or not ordinary:
        raise NotApplicable(f"only {len(seen)} tokens were read: too few to judge a vocabulary of {size}")
    reach = (ordinary[-1] + 1) / size
    return Evidence(
        measured=reach, bound=0.25, at_least=True, unit="of the vocabulary", where=f"{len(seen)} tokens",
        saw=f"no id above {ordinary[-1]} of {size}" if reach < 0.25 else "",
    )  # fmt: skip


@law(
    "data/shapes",
    statement="Inputs and targets have one shape (B, T), and T is no longer than the model takes.",
    source="the model's own limit",
    looks="Compares the shapes of the first batches; rows and lengths may differ from batch to batch.",
    tolerance="None; a window may be one longer than the model takes, when the targets are cut from it.",
    symptoms="Broadcasting where nobody meant it; positions that wrap or fail.",
    causes="Targets with an axis too many, rows cut to another length than the model's.",
    needs=("loader",),
)
def shapes(subject: Subject) -> Evidence:
    """Targets (8, 1, 64) beside inputs (8, 64) broadcast to (8, 8, 64) in a comparison, without a word."""
    most = subject.max_len or 10**9
    odd = []
    for whole in first_batches(subject):
        batch = understood(whole)
        shape = tuple(batch.inputs.shape)
        longest = most + (batch.targets is None)
        targets = shape if batch.targets is None else tuple(batch.targets.shape)
        if len(shape) != 2 or shape != targets or not 1 <= shape[1] <= longest or not shape[0]:
            odd.append(f"inputs {shape}, targets {targets}, at most {most} tokens")
    return Evidence(
        measured=float(len(odd)), bound=0.0, unit="batches", where="the loader", saw=odd[0] if odd else ""
    )


@law(
    "data/targets-follow",
    statement="The targets are the inputs: one later, or the same for a model that shifts inside.",
    source="Radford et al. 2019 (GPT-2), §2",
    looks="Compares the targets that count with the inputs at the same place and one later.",
    tolerance="10 % may differ: what ends documents and rows.",
    symptoms="The loss stays high; the model learns a text that is not there.",
    causes="Inputs and targets shuffled or cropped apart; a shift by two or in the wrong direction.",
    needs=("loader",),
)
def targets_follow(subject: Subject) -> Evidence:
    """From `a b c d` come x = `a b c` and y = `b c d`; y = `c d e` asks each token for the one after the next."""
    if not subject.claims.causal or subject.interface.encoder is not None:
        raise NotApplicable("the model does not write its own input on: targets may be anything")
    found = [batch for batch in batches(subject) if batch.targets is not None]
    if not found:
        raise NotApplicable("the batches hold windows without targets")
    pad = special_id(subject, "pad")
    off = min(differing(found, ahead, pad) for ahead in (0, 1))
    saw = f"{off:.0%} of the targets are neither the input at their place nor the next"
    return Evidence(
        measured=off,
        bound=ALLOWED,
        unit="of the targets",
        where="the loader",
        saw=saw if off > ALLOWED else "",
    )


@law(
    "data/validation-targets",
    statement="Validation asks what training asks: targets as far ahead of the inputs.",
    source="a validation loss estimates the training loss on unseen text",
    looks="Finds how far ahead the training targets are, and compares the validation targets with the inputs there.",
    tolerance="10 % may differ: what ends documents and rows. Another shift differs in most.",
    symptoms="A validation loss near zero, or one that never falls, beside a training loss that does.",
    causes="Two functions that cut batches, of which one was changed.",
    needs=("loader", "val_loader"),
)
def validation_targets(subject: Subject) -> Evidence:
    """From `a b c d` training makes x = `a b c`, y = `b c d`; a validation with y = `a b c` asks only for a copy."""
    if not subject.claims.causal or subject.interface.encoder is not None:
        raise NotApplicable("the model does not write its own input on: targets may be anything")
    pad = special_id(subject, "pad")
    sides = [
        [batch for batch in batches(subject, part) if batch.targets is not None]
        for part in ("loader", "val_loader")
    ]
    if not all(sides):
        raise NotApplicable("the batches hold windows without targets")
    training, held_out = sides
    ahead = min((0, 1), key=lambda places: differing(training, places, pad))
    if differing(training, ahead, pad) > ALLOWED:
        raise NotApplicable("the training targets follow no inputs: see data/targets-follow")
    off = differing(held_out, ahead, pad)
    saw = f"{off:.0%} of them are not the inputs {ahead} ahead, as the training targets are"
    return Evidence(
        measured=off, bound=ALLOWED, unit="of the targets", where="the val_loader", saw=saw if off > ALLOWED else ""
    )  # fmt: skip


@law(
    "data/mask-trains",
    statement="Every batch has something to learn, nearly every row too, and padding is not it.",
    source="any supervised fine-tuning with a loss mask",
    looks="Counts rows with no target that counts, and targets that count though they are padding.",
    tolerance="10 % of the rows may have nothing, 10 % of the targets may be padding.",
    symptoms="NaN from an empty mean; no learning; the model writes what it should have answered.",
    causes="An inverted mask; prompts so long that the answer was cut off.",
    needs=("loader",),
)
def mask_trains(subject: Subject) -> Evidence:
    """A row `question answer PAD PAD` with mask 0 1 0 0 learns the answer; inverted, 1 0 1 1, all but the answer."""
    found = batches(subject)
    if all(batch.counted.all() for batch in found) and special_id(subject, "pad") is None:
        raise NotApplicable("every target counts: there is no mask")
    pad = special_id(subject, "pad")
    empty = sum(int((~batch.counted.any(-1)).sum()) for batch in found) / sum(len(b.inputs) for b in found)
    learned = sum(int(batch.counted.sum()) for batch in found)
    padded = 0.0
    if pad not in (None, special_id(subject, "eos"), special_id(subject, "bos")):
        padded = sum(int((batch.counted & _is_padding(batch, pad)).sum()) for batch in found) / max(
            1, learned
        )
        hidden = any((~batch.counted & ~_is_padding(batch, pad)).any() for batch in found)
        padded = padded if hidden else 0.0
    worst = max(empty, padded)
    saw = "rows have nothing to learn" if empty >= padded else "of what is learned is padding"
    return Evidence(
        measured=worst, bound=0.1, unit="share", where="the first batches",
        saw=f"{worst:.0%} {'of the ' if empty >= padded else ''}{saw}" if worst > 0.1 else "",
    )  # fmt: skip


def _is_padding(batch: Batch, pad: int | None) -> torch.Tensor:
    return batch.inputs.eq(-1 if pad is None else pad)


@law(
    "data/bos",
    statement="Documents are kept apart: what follows the end of one begins with the beginning of the next.",
    source="Radford et al. 2018 (GPT), §3.3: start and end tokens",
    looks="Looks at the first token of padded rows, and in packed rows at the token after each end.",
    tolerance="99 % must begin so.",
    symptoms="The model goes from one text into another; the first token of a prompt means nothing to it.",
    causes="BOS left out when encoding, alone or in batches.",
    needs=("loader",),
)
def bos(subject: Subject) -> Evidence:
    """Packed rows read `… sat EOS BOS the dog …`; without BOS the model learns that `the dog` follows from `sat`."""
    first, end = special_id(subject, "bos"), special_id(subject, "eos")
    pad = special_id(subject, "pad")
    if first is None or first == end:
        raise NotApplicable("no id of its own begins a document: claims.bos_id or the tokenizer may name one")
    found = batches(subject)
    ids = [row for batch in found for row in batch.inputs.cpu()]
    begins = torch.cat([_begins(row, end, pad) for row in ids])
    padded = [row[0] for row in ids if row[-1] == pad and pad != end]
    if len(padded) > len(ids) / 2:  # each row is a document
        begins = torch.cat([begins, torch.stack(padded)])
    total, begun = len(begins), int((begins == first).sum())
    if not begun and subject.claims.bos_id is None:
        raise NotApplicable(
            "the tokenizer has an id to begin with that the data never uses: nothing declares it"
        )
    if not total:
        raise NotApplicable("no document begins in the first batches, as far as can be seen")
    return Evidence(
        measured=begun / total, bound=0.99, at_least=True, unit="of the documents", where=f"{total} documents",
        saw=f"{total - begun} of {total} documents do not begin with id {first}" if begun < 0.99 * total else "",
    )  # fmt: skip


def _begins(row_T: torch.Tensor, end: int | None, pad: int | None) -> torch.Tensor:
    """The tokens that come right after the end of a document."""
    after = row_T[1:]
    follows = (row_T[:-1] == (-1 if end is None else end)) & (after != (-1 if pad is None else pad))
    return after[follows & (after != end)]
