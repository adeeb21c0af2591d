"""Attention: what a token may see, and how scores become weights. Heads have a file of their own.

Shapes: B rows, T queries, S keys, H heads, D the width of a head, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from trueformer.laws import attention_heads
from trueformer.laws.law import Evidence, Figure, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

assert attention_heads  # its laws belong to this chapter
PAPER = "Vaswani et al. 2017, arXiv:1706.03762, §3.2"


def matrix(title: str, values: Tensor, x: str, y: str, log: bool = False) -> Figure:
    """A figure of a matrix, its first 64 rows and columns."""
    rows = tuple(tuple(row) for row in values[:64, :64].double().tolist())
    return Figure(kind="matrix", title=title, x_label=x, y_label=y, matrix=rows, log=log)


def worst(found: list[tuple[float, str]]) -> tuple[float, str]:
    """The largest number and its place; NaN is larger than any."""
    return max(found, key=lambda pair: (pair[0] != pair[0], pair[0]))


def stated(subject: Subject, *names: str) -> Any:
    """What the model or its configuration holds under the first of these names; None without any."""
    model = subject.model
    owners = [
        subject.config,
        *(getattr(model, name, None) for name in ("cfg", "args", "params", "hparams")),
        model,
    ]
    for owner in owners:
        for name in names:
            value = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
            if value is not None:
                return value
    return None


def declared_window(subject: Subject) -> int | None:
    """The window that the owner or the model's configuration declares, in tokens."""
    if subject.claims.window:
        return subject.claims.window
    value = stated(subject, "sliding_window", "window", "window_size", "attention_window")
    used = getattr(subject.config, "use_sliding_window", True)
    return value if isinstance(value, int) and value > 0 and used else None


def only_causal(subject: Subject) -> None:
    """Raises NotApplicable for a model that reads in both directions."""
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")


def mask_of(subject: Subject) -> str:
    """The name of the parameter that takes a padding mask.

    Raises:
        NotApplicable: there is none.
    """
    if subject.interface.mask is None:
        raise NotApplicable("the model takes no attention_mask (or declare its name: claims={'mask': …})")
    return subject.interface.mask


def documents_of(subject: Subject, numbers_BT: Tensor) -> dict[str, Any]:
    """The numbers of each token's document, as the argument that the model takes.

    Raises:
        NotApplicable: there is none.
    """
    if subject.interface.documents is None:
        raise NotApplicable("the model takes no numbers of documents (or declare: claims={'documents': …})")
    return {subject.interface.documents: numbers_BT}


@law(
    "attention/rows",
    statement="The weights that a token gives to the keys it sees are non-negative and sum to one.",
    source=f"{PAPER}.1: softmax over the keys",
    looks="Watches a pass; adds up the weights that multiply the values, for each head and query.",
    tolerance="0.01: a softmax in bf16 is off by 0.004. With attention sinks a row may sum to less.",
    symptoms="It trains, worse; the future leaks through the normaliser.",
    causes="softmax over the queries (dim=-2), or over heads; weights scaled or masked after the softmax.",
    needs=("logits",),
)
def rows(subject: Subject) -> Evidence:
    """softmax(dim=-2) makes columns sum to one: what a key gives then depends on later queries.

    weights = scores.softmax(dim=-1)   # right: over the keys
    weights = scores.softmax(dim=-2)   # wrong: shape and dtype are the same, training goes on
    """
    found = []
    for attention in subject.attentions:
        sums = attention.weights_HTS.sum(-1)
        over = (sums - 1).clamp(min=0) if attention.has_sinks else (sums - 1).abs()
        below = -attention.weights_HTS.amin(-1)
        found.append((float(torch.maximum(over, below).max()), attention.path))
    off, where = worst(found)
    saw = "rows of weights do not sum to one over the keys" if not off <= 0.01 else ""
    return Evidence(measured=off, bound=0.01, where=where, saw=saw)


@law(
    "attention/scale",
    statement="Scores are q·k divided by the square root of the head's width, or scaled as declared.",
    source=f"{PAPER}.1, footnote 4",
    looks="Follows q and k back to their projections, multiplying every number that scaled them or the scores.",
    tolerance="1 %: a number written as 0.125 or 8 ** -0.5 is exact.",
    symptoms="Attention looks at one token only from the start, gradients vanish; or it averages and cannot choose.",
    causes="Scores multiplied by √d, divided by d, scaled twice, by the model's width, or not at all.",
    needs=("logits",),
)
def scale(subject: Subject) -> Evidence:
    """The variance of q·k grows with d; the division keeps the softmax where it has a gradient.

        scores = q @ k.mT / math.sqrt(d)     # right
        scores = q @ k.mT * math.sqrt(d)     # wrong: with d = 64 scores are 64 times too large

    A model that is meant to have another scale says so: `claims={"scale": 1.0}`.
    """
    found = []
    for attention in subject.attentions:
        wanted = [_declared_scale(subject) or attention.d_head**-0.5]
        if attention.normed and subject.claims.scale is None:
            # With normed q and k, other scales of about one are usual: the largest score is their norm squared.
            wanted += [value for value in (attention.factor,) if value <= 16 * attention.d_head**-0.5]
        off = min(abs(abs(attention.factor) / value - 1) for value in wanted)
        found.append((off, f"{attention.path}: scaled by {attention.factor:.4g}, expected {wanted[0]:.4g}"))
    off, where = worst(found)
    saw = "scores are not scaled by 1/√d" if not off <= 0.01 else ""
    return Evidence(measured=off, bound=0.01, where=where, saw=saw)


def _declared_scale(subject: Subject) -> float | None:
    if subject.claims.scale is not None:
        return subject.claims.scale
    config = subject.config
    if getattr(config, "model_type", "") in ("t5", "gpt_neo", "mt5", "umt5"):
        return 1.0  # folded into the initialisation, as their papers say
    multiplier = getattr(config, "attention_multiplier", None)
    inside = getattr(config, "query_pre_attn_scalar", None)
    return multiplier or (inside**-0.5 if inside else None)


@law(
    "attention/mask",
    statement="A token sees itself and every earlier token within the window, and no other.",
    source=f"{PAPER}.3; sliding windows: Beltagy et al. 2020, arXiv:2004.05150",
    looks="Watches a pass; finds which weights are zero, and compares with a band below the diagonal.",
    tolerance="No entry may differ; a window of W may or may not count the token itself.",
    symptoms="A token that cannot see itself, or sees one too many; a loss that is a little or far too low.",
    causes="`triu`/`tril` with the wrong diagonal, a mask that is inverted or transposed, one broadcast over heads.",
    needs=("logits",),
)
def mask(subject: Subject) -> Evidence:
    """`torch.triu(ones, diagonal=0)` masked out also hides the token itself, `diagonal=2` shows the next one.

    What must be hidden is `torch.triu(ones, diagonal=1)`.
    """
    only_causal(subject)
    found = []
    for attention in subject.attentions:
        seen = (attention.weights_HTS.abs() > 0) | attention.weights_HTS.isnan()
        wanted = _band(seen)
        if wanted is not None:
            found.append((float((seen != wanted).sum()), attention.path))
    if not found:
        raise NotApplicable("the attention is sparse in a way of its own")
    off, where = worst(found)
    saw = "the zeros of the weights are not those of a causal mask" if off else ""
    return Evidence(measured=off, bound=0, unit="entries", where=where, saw=saw)


def _band(seen_HTS: Tensor) -> Tensor | None:
    """The causal band that this pattern should be: as wide as its last row is; None where blocks are left out."""
    length = seen_HTS.shape[-1]
    last = seen_HTS[0, -1].nonzero()
    if len(last) and len(last) < int(last[-1] - last[0]) + 1:
        return None
    width = length - int(last[0]) if len(last) else length
    ones = torch.ones(length, length, dtype=torch.bool, device=seen_HTS.device)
    return ones.tril() & ones.triu(1 - width)


@law(
    "attention/window",
    statement="A sliding window is as wide as declared.",
    source="Jiang et al. 2023, arXiv:2310.06825, §2",
    looks="Watches a pass longer than the window; measures the widest band of weights that are not zero.",
    tolerance="One token: whether a window of W counts the token itself is a matter of taste.",
    symptoms="Memory and speed as declared, but the context is another; long texts degrade.",
    causes="The window masks the wrong side, is doubled or halved, or is never applied.",
    needs=("logits",),
)
def window(subject: Subject) -> Evidence:
    """With a window of 4096 the token at 5000 sees those from 905 on: `(i - j) < window` beside `j <= i`."""
    only_causal(subject)
    declared = declared_window(subject)
    if declared is None:
        raise NotApplicable("no window is declared")
    length = min(2 * declared + 4, subject.max_len or 512, 512)
    if declared + 2 > length:
        raise NotApplicable(f"the window of {declared} is longer than what a probe reads ({length} tokens)")
    from trueformer.subject.subject import self_attentions

    attentions = self_attentions(subject.trace(subject.ids(1, length)), length)
    widths = [int((a.weights_HTS[0, -1] != 0).sum()) for a in attentions]
    narrow = [width for width in widths if width < length] or [max(widths)]
    off = max(min(abs(width - declared), abs(width - declared - 1)) for width in narrow)
    where = f"widths {sorted(set(widths))}, declared {declared}"
    saw = "no layer has the declared window" if off else ""
    return Evidence(measured=off, bound=0, unit="tokens", where=where, saw=saw)


@law(
    "attention/mask-is-infinite",
    statement="What is masked out is minus infinity to the softmax, not a number that large scores can outgrow.",
    source=f"{PAPER}.3: masking out (setting to −∞)",
    looks="Watches a pass; takes the largest score at any masked place, as the softmax gets it.",
    tolerance="−1000: scores of trained models reach ±100; −1e4 and −1e9 are usual.",
    symptoms="The future leaks once training makes scores large, or in half precision; never at the start.",
    causes="masked_fill with −1, −10 or 0; a mask multiplied instead of added; one scaled with the scores.",
    needs=("logits",),
)
def mask_is_infinite(subject: Subject) -> Evidence:
    """`scores.masked_fill(mask, -100)` hides nothing from a head whose scores reach 100: use `float("-inf")`."""
    only_causal(subject)
    found = []
    for attention in subject.attentions:
        logits = attention.logits_HTS
        if logits is None:
            continue
        later = torch.ones_like(logits[0], dtype=torch.bool).triu(1)
        highest = float(logits[:, later].max()) if later.any() else -float("inf")
        found.append((highest, attention.path))
    if not found:
        raise NotApplicable("no softmax over scores alone was seen")
    highest, where = worst(found)
    saw = "scores of later tokens reach the softmax as finite, small numbers" if not highest <= -1000 else ""
    return Evidence(measured=highest, bound=-1000, where=where, saw=saw)


@law(
    "attention/causal",
    statement="A logit never depends on a later token.",
    source=f"{PAPER}.3",
    looks="Changes each token in turn and compares the logits before it, as a share of the largest change.",
    tolerance="1e-5: rounding in mixtures of experts reaches 1.5e-7, elsewhere the change is exactly 0.",
    symptoms="The training loss falls far below what the text allows; what is generated makes no sense.",
    causes="No mask, one transposed or off by one on its diagonal; softmax over the queries; a sum over time.",
    needs=("logits",),
)
def causal(subject: Subject) -> Evidence:
    """A model that sees the next token copies it: training loss near 0, and nothing to copy when it generates.

    With `mask = torch.tril(ones, diagonal=1)` token t sees t + 1, which is the very token it is asked for.
    The right one is `torch.tril(ones)`.
    """
    only_causal(subject)
    moved_TS = subject.influence
    earlier = moved_TS.tril(-1)
    t, s = divmod(int(earlier.argmax()), subject.length)
    leaks = not float(earlier.max()) <= subject.noise
    return Evidence(
        measured=float(earlier.max()),
        bound=subject.noise,
        where=f"changing token {t} moves the logits at {s}" if leaks else "",
        saw="a later token changes an earlier prediction" if leaks else "",
        figure=matrix(
            "How far changing a token moves each logit",
            moved_TS.clamp(min=1e-12),
            "logits at",
            "changed",
            True,
        ),
    )


@law(
    "attention/uses-past",
    statement="A prediction depends on the token before it, not on its own token alone.",
    source=PAPER,
    looks="Changes each token in turn and measures how far the logits one place later move.",
    tolerance="1e-10 of the largest change, far above rounding in float64; small weights make it small, not zero.",
    symptoms="The loss stops at what pairs of neighbours tell; what is generated forgets its beginning.",
    causes="A mask that hides everything but the diagonal; attention whose output is dropped; a window of one.",
    needs=("logits",),
)
def uses_past(subject: Subject) -> Evidence:
    """An inverted mask leaves each token alone with itself: the model becomes a table of bigrams, and trains."""
    refuse_saturated(subject)
    moved_TS = subject.influence
    to_the_next = moved_TS.diagonal(1)
    at = int(to_the_next.argmin())
    floor = 1e-10 if subject.noise < 1e-4 else 1e-6
    saw = "the token before changes nothing" if not float(to_the_next.min()) >= floor else ""
    where = f"changing token {at} leaves the logits at {at + 1} as they are" if saw else ""
    return Evidence(measured=float(to_the_next.min()), bound=floor, at_least=True, where=where, saw=saw)


def refuse_saturated(subject: Subject) -> None:
    """Raises NotApplicable where some row of scores spans more than a softmax can tell apart in a few digits."""
    try:
        scores = [a.product_HTS * a.factor for a in subject.attentions]
    except NotApplicable:
        return
    if max(float((s.amax(-1) - s.amin(-1)).max()) for s in scores) > 20:
        raise NotApplicable("scores are so far apart that the softmax leaves one key")


@law(
    "attention/rows-apart",
    statement="A row of a batch gets what it would get alone.",
    source=PAPER,
    looks="Runs three texts together and each alone, and compares their logits.",
    tolerance="1e-5 of the largest logit: products over more rows may sum in another order.",
    symptoms="Results depend on who else is in the batch; evaluation changes with the batch size.",
    causes="Rows and heads swapped by a reshape, softmax or norm over the batch, a cache shared by rows.",
    needs=("logits",),
)
def rows_apart(subject: Subject) -> Evidence:
    """`x.view(T, B, D)` of a (B, T, D) tensor mixes rows; with one row it is right, and so is every small test."""
    ids = subject.ids(3, seed=1)
    together = subject.logits(ids)
    alone = torch.cat([subject.logits(row[None]) for row in ids])
    off_B = ((together - alone).abs().amax((1, 2)) / alone.abs().max().clamp(min=1e-30)).tolist()
    off, where = worst([(off, f"row {row} of 3") for row, off in enumerate(off_B)])
    saw = "a text's logits depend on its neighbours in the batch" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, where=where if saw else "", saw=saw)


@law(
    "attention/padding",
    statement="What stands at masked places changes nothing elsewhere.",
    source=f"{PAPER}.3",
    looks="Masks the end of one row and the beginning of another, and changes the ids there.",
    tolerance="2e-4 of the largest logit: float32, for in float64 some models' rows without any key are NaN.",
    symptoms="Answers depend on how much padding a batch needed; longer batches are worse.",
    causes="The mask is inverted, transposed, broadcast over queries or the wrong row, or not passed on.",
    needs=("logits",),
)
def padding(subject: Subject) -> Evidence:
    """Rows of a batch that are as many as its tokens (B = T) also show a mask broadcast over the wrong axis."""
    name = mask_of(subject)
    rows = subject.length
    ids = subject.ids(rows, seed=2)
    real = torch.ones_like(ids)
    real[::2, -5:] = 0
    real[1::2, :5] = 0
    # A causal model's places before the text see nothing but padding: what they give is nobody's.
    other = torch.where(real.bool(), ids, subject.ids(rows, seed=3))
    one, two = (
        subject.logits(each, subject.single, **subject.interface.masked(real))[real.bool()]
        for each in (ids, other)
    )
    off = float((one - two).abs().max() / one.abs().max())
    saw = "ids under the mask change logits outside it" if not off <= 2e-4 else ""
    return Evidence(measured=off, bound=2e-4, where=name, saw=saw)


@law(
    "attention/padding-mask-of-ones",
    statement="A mask that hides nothing is as good as none.",
    source=f"{PAPER}.3",
    looks="Runs a text with a mask of ones and without one.",
    tolerance="1e-5 of the largest logit.",
    symptoms="Training with masks and generating without gives two different models.",
    causes="A mask taken for its opposite (1 hides), or added to the scores as it is.",
    needs=("logits",),
)
def mask_of_ones(subject: Subject) -> Evidence:
    """With `scores + mask`, ones shift every score alike and hide none; with `masked_fill(mask, …)` they hide all."""
    name, ids = mask_of(subject), subject.ids()
    ones = subject.interface.masked(torch.ones_like(ids))
    one, two = subject.logits(ids), subject.logits(ids, **ones)
    off = float((one - two).abs().max() / one.abs().max())
    saw = "a mask of ones changes the logits" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, where=name, saw=saw)


@law(
    "attention/mask-shape",
    statement="A padding mask of another shape than the ids is refused.",
    source=f"{PAPER}.3; broadcasting: NumPy's rules",
    looks="Gives three rows a mask of three by one that hides a row, and one with its axes swapped.",
    tolerance="An error of the model's own; silence is advised against.",
    symptoms="A mask built for other rows is stretched over these, and hides the wrong keys.",
    causes="Nobody compares shapes, and broadcasting makes them fit.",
    needs=("logits",),
    advice=True,
)
def mask_shape(subject: Subject) -> Evidence:
    """A (B, 1) mask broadcasts over all keys: `if mask.shape != ids.shape: raise ValueError(...)`."""
    name, ids = mask_of(subject), subject.ids(3)
    taken = []
    for shape in ((3, 1), (subject.length, 3)):
        real = torch.ones(shape, dtype=torch.long)
        real[-1] = 0
        try:
            subject.logits(ids, **subject.interface.masked(real))
        except Exception:  # noqa: BLE001 - refusing is what is hoped for, whatever the error is called
            continue
        taken.append(str(shape))
    saw = f"a mask of shape {' and '.join(taken)} is taken for ids {tuple(ids.shape)}" if taken else ""
    return Evidence(measured=len(taken), bound=0, unit="shapes", where=name, saw=saw)


@law(
    "attention/documents",
    statement="A token sees its own document only.",
    source="Krell et al. 2021, arXiv:2107.02027, §3.2: packing without cross-contamination",
    looks="Runs two documents in one row, changes one of them, and compares the other's logits.",
    tolerance="1e-5 of the largest logit.",
    symptoms="Packed rows teach that unrelated texts go together; quality depends on how rows are packed.",
    causes="The documents' numbers are not passed on, or compared the wrong way.",
    needs=("logits",),
)
def documents(subject: Subject) -> Evidence:
    """`same = doc[:, :, None] == doc[:, None, :]`, beside the causal mask. With `>=` the second sees the first."""
    half, ids = subject.length // 2, subject.ids()
    numbers = documents_of(subject, (torch.arange(subject.length)[None] >= half).long())
    other = torch.cat([subject.ids(seed=7)[:, :half], ids[:, half:]], 1)
    one, two = (subject.logits(each, **numbers)[:, half:] for each in (ids, other))
    off = float((one - two).abs().max() / one.abs().max())
    saw = "the second document has other logits after another first one" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, saw=saw)


@law(
    "attention/empty",
    statement="An empty text is refused, or gives no logits; it never gives numbers that are none.",
    source=f"{PAPER}.1: a softmax over no keys is not defined",
    looks="Runs the model on ids of shape (1, 0).",
    tolerance="No logits, or an error of the model's own.",
    symptoms="NaN that appears far from its cause, when a text was empty after filtering.",
    causes="A mean or softmax over no tokens.",
    needs=("logits",),
)
def empty(subject: Subject) -> Evidence:
    """`x.mean(1)` over no tokens is NaN; `if ids.shape[1] == 0: raise ValueError(...)` says what is wrong."""
    subject.logits(subject.ids())
    try:
        output = subject.call(subject.exact, subject.ids()[:, :0])
    except Exception:  # noqa: BLE001 - refusing is what is hoped for, whatever the error is called
        return Evidence(measured=0, bound=0, saw="refused")
    n = output.logits.numel() + int(output.loss is not None and not output.loss.isfinite())
    saw = "an empty text gives logits, or a loss that is no number" if n else ""
    return Evidence(measured=n, bound=0, unit="numbers", saw=saw)
