"""Position: that order matters, and that it enters as it claims to.

With one token repeated, every place holds the same thing: what differs between places then is position alone, in every
layer. Under rotary embeddings the scores depend on the distance only (the matrix is Toeplitz), queries and keys keep
their lengths, and values know nothing of their place.

Shapes: T queries, S keys, H heads, D the width of a head.
"""

import torch
from torch import Tensor

from trueformer.laws.attention import documents_of, matrix, refuse_saturated, stated, worst
from trueformer.laws.law import Evidence, Figure, law
from trueformer.subject.attentions import Attention, projected_from
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of, self_attentions

ROPE = "Su et al. 2021, arXiv:2104.09864, §3.2"


def placeless(subject: Subject) -> list[Attention]:
    """The attentions whose layer gets the same at every place when one token is repeated.

    Raises:
        NotApplicable: positions are added to the embeddings, so that every layer's input knows its place.
    """
    trace = subject.repeated
    found = []
    for attention in self_attentions(trace, subject.length):
        rows = projected_from(trace, attention.value_HSD)
        if rows is not None and spread(rows) < subject.noise:
            found.append(attention)
    if not found:
        raise NotApplicable("positions are added to the embeddings (learned or sinusoidal)")
    return found


def spread(rows_TC: Tensor) -> float:
    """How much rows differ from the first, as a share of the largest number."""
    rows_TC = rows_TC.flatten(1)
    return float((rows_TC - rows_TC[:1]).abs().max() / rows_TC.abs().max().clamp(min=1e-30))


def rounding_of_tables(subject: Subject) -> float:
    """What rounding of cosines may do, as a share: they may be kept in the weights' own dtype."""
    return 1e-4 if dtype_of(subject.model) in (torch.float32, torch.float64) else 2e-2


def diagonals_differ(scores_HTS: Tensor) -> float:
    """How far a matrix is from one whose diagonals are constant, as a share of its largest number."""
    off = (scores_HTS[:, 1:, 1:] - scores_HTS[:, :-1, :-1]).abs().max()
    return float(off / scores_HTS.abs().max().clamp(min=1e-30))


@law(
    "position/relative",
    statement="Where positions enter in attention, a score depends on the distance of two places, not on the places.",
    source=f"{ROPE}: ⟨f(q, m), f(k, n)⟩ = g(q, k, m − n)",
    looks="Repeats one token; the scores must be constant along every diagonal, in every layer.",
    tolerance="1e-4 of the largest score: float32 tables give 6e-7, wrong ones 0.1; 0.02 for models in half precision.",
    symptoms="It trains, worse; it does not carry over to other places or lengths.",
    causes="Wrong signs in the rotation, halves and pairs mixed up, q and k rotated differently, tables cut wrongly.",
    needs=("logits",),
)
def relative(subject: Subject) -> Evidence:
    """A rotation by mθ is [[cos, −sin], [sin, cos]]: R(m)ᵀR(n) = R(n − m). With two plus signs it is no rotation.

    Rotating by −θ throughout, pairs of halves or of neighbours: all the same to the scores, and all right.
    """
    found = []
    figure = None
    for attention in placeless(subject):
        off = diagonals_differ(attention.product_HTS)
        figure = figure or matrix("Scores of one token repeated", attention.product_HTS[0], "key", "query")
        found.append((off, attention.path))
    off, where = worst(found)
    bound = rounding_of_tables(subject)
    saw = "the scores of one token repeated change along a diagonal" if not off <= bound else ""
    return Evidence(measured=off, bound=bound, where=where, saw=saw, figure=figure)


@law(
    "position/distance-matters",
    statement="Where queries are rotated, scores change with the distance.",
    source=f"{ROPE}",
    looks="Repeats one token; where q meets a table of positions, the first row of scores must not be constant.",
    tolerance="1e-6 of the largest score, ten times what float32 tables give when constant.",
    symptoms="It trains as a bag of words would; order is known through the mask only.",
    causes="The table is indexed by a constant, by the head or by the row; one position for all places.",
    needs=("logits",),
)
def distance_matters(subject: Subject) -> Evidence:
    """`cos[position]` with the position 0 for every place: still a rotation, still Toeplitz, and no position at all."""
    attentions = placeless(subject)
    rotated = [a for a in attentions if any(subject.length in table.shape for table in a.tables)]
    biased = [a for a in rotated if _varies(a.logits_HTS)]
    if not rotated:
        raise NotApplicable("queries meet no table of positions")
    found = [(-_variation(a.product_HTS), a.path) for a in rotated if a not in biased] or [(-1.0, "")]
    least, where = worst(found)
    saw = "scores are the same at every distance" if -least < 1e-6 else ""
    return Evidence(measured=-least, bound=1e-6, at_least=True, where=where if saw else "", saw=saw)


def _variation(scores_HTS: Tensor) -> float:
    first_column = scores_HTS[:, :, 0]
    return float((first_column - first_column[:, :1]).abs().max() / scores_HTS.abs().max().clamp(min=1e-30))


def _varies(logits_HTS: Tensor | None) -> bool:
    """Whether a bias makes scores differ along the last row."""
    if logits_HTS is None:
        return False
    last = logits_HTS[:, -1]
    last = last[last.isfinite()].reshape(len(last), -1)
    return bool((last - last[:, :1]).abs().max() > 1e-3)


@law(
    "position/values-stay",
    statement="Values know nothing of their place: only queries and keys are rotated.",
    source=f"{ROPE}; §3.2.2, equation 16",
    looks="Repeats one token; the values must be the same at every place, in every layer.",
    tolerance="1e-5 of the largest value; in 26 families of models they are equal to the last bit.",
    symptoms="It trains, worse: what a token says depends on where it stands.",
    causes="The rotation applied to q, k and v alike, or to the projection before it is split.",
    needs=("logits",),
)
def values_stay(subject: Subject) -> Evidence:
    """`q, k, v = (rotate(x) for x in (q, k, v))`: v must be left out."""
    attentions = placeless(subject)
    off, where = worst([(spread(a.value_HSD.transpose(0, 1)), a.path) for a in attentions])
    saw = "values differ between places that hold the same token" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, where=where if saw else "", saw=saw)


@law(
    "position/rotation-keeps-length",
    statement="Rotating a query or key leaves its length as it was.",
    source=f"{ROPE}: the matrix is orthogonal",
    looks="Repeats one token; the lengths of queries and keys must be the same at every place.",
    tolerance="1e-4: sin² + cos² from float32 tables is one within 1e-7; 0.02 for models in half precision.",
    symptoms="Some distances are louder than others; it trains, worse.",
    causes="Wrong signs, a cosine where a sine belongs, tables of different frequencies, a channel left out.",
    needs=("logits",),
)
def rotation_keeps_length(subject: Subject) -> Evidence:
    """(x cos − y sin)² + (x sin + y cos)² = x² + y². With both signs plus, it is not."""
    found = []
    for attention in placeless(subject):
        for name, rows in (("queries", attention.query_HTD), ("keys", attention.key_HSD)):
            found.append((spread(rows.norm(dim=-1).transpose(0, 1)), f"{attention.path}, {name}"))
    off, where = worst(found)
    bound = rounding_of_tables(subject)
    saw = "lengths change with the place" if not off <= bound else ""
    return Evidence(measured=off, bound=bound, where=where if saw else "", saw=saw)


@law(
    "position/frequencies",
    statement="The frequencies of the rotation are those of the stated base: base^(−2i/d).",
    source=f"{ROPE}: θᵢ = 10000^(−2(i−1)/d)",
    looks="Repeats one token; rotates what stands at place 0 by the stated frequencies; compares scores, either layout.",
    tolerance="1e-3 of the largest score, at the layout that fits best; 0.2 for models in half precision.",
    symptoms="Far tokens look alike, or near ones do; long range degrades; weights of others do not fit.",
    causes="2·head_dim or the model's width in the exponent, i instead of 2i, a base that is not the configuration's.",
    needs=("logits",),
)
def frequencies(subject: Subject) -> Evidence:
    """For d = 64 the slowest pair turns by 10000^(−62/64) = 1.3e-4 a token; with 2·d in the exponent by 0.0115."""
    base = _stated_base(subject)
    if base is None:
        raise NotApplicable("no base is stated: claims={'rope_base': …}")
    found = []
    for attention in placeless(subject):
        if (
            any(subject.length in table.shape for table in attention.tables)
            and _variation(attention.product_HTS) > 1e-6
        ):
            found.append((_off_from(attention, base), attention.path))
    if not found:
        raise NotApplicable("no rotation was seen")
    off, where = worst(found)
    bound = 10 * rounding_of_tables(subject)
    saw = f"scores are not those of a rotation with base {base:g}" if not off <= bound else ""
    return Evidence(
        measured=off, bound=bound, where=where, saw=saw, figure=_by_distance(found, placeless(subject))
    )


def _by_distance(found: list[tuple[float, str]], attentions: list[Attention]) -> Figure:
    line = attentions[0].product_HTS[0, :, 0].double().tolist()
    return Figure(
        kind="lines",
        title="Score by distance, one token repeated",
        x_label="distance",
        lines={"head 0": tuple(line)},
    )


def _stated_base(subject: Subject) -> float | None:
    if subject.claims.rope_base is not None:
        return subject.claims.rope_base
    config = subject.config
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if scaling is not None:  # other frequencies than the base's, unless it is transformers' way to say none
        known = scaling if isinstance(scaling, dict) else {"type": "some"}
        usual = known.get("rope_type", known.get("type", "default")) == "default"
        base = known.get("rope_theta") if usual else None
        return float(base) if isinstance(base, int | float) else None
    value = stated(subject, "rope_theta", "rope_base", "rotary_emb_base", "rotary_base")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _off_from(attention: Attention, base: float) -> float:
    """The least difference from scores made by turning what stands at place 0, over layouts, directions and widths."""
    return min(
        _off_by(attention, base, width, neighbours, first, forward)
        for width in (attention.d_head, attention.d_head // 2, attention.d_head // 4)
        if width >= 2 and width % 2 == 0
        for neighbours in (False, True)
        for first in (True, False)
        for forward in (True, False)
    )


def _off_by(
    attention: Attention, base: float, width: int, neighbours: bool, first: bool, forward: bool
) -> float:
    """The difference where `width` channels turn, the first or the last ones, as neighbours or halves."""
    length, d_head = attention.query_HTD.shape[1:]
    rates = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    turns = torch.polar(torch.ones_like(angles), angles if forward else -angles)
    start = 0 if first else d_head - width
    parts = []
    for rows in (attention.query_HTD, attention.key_HSD):
        still = rows[:, 0].double().clone()
        turned = still[:, start : start + width]
        pairs = turned.unflatten(-1, (-1, 2)) if neighbours else turned.unflatten(-1, (2, -1)).mT
        parts.append(torch.view_as_complex(pairs.contiguous())[:, None] * turns)
        still[:, start : start + width] = 0
        parts.append(still)
    q_HTP, q_still, k_HSP, k_still = parts
    expected = (q_HTP @ k_HSP.conj().mT).real + (q_still * k_still).sum(-1)[:, None, None]
    scores = attention.product_HTS.double()
    return float((expected - scores).abs().max() / scores.abs().max().clamp(min=1e-30))


@law(
    "position/known",
    statement="The model knows the places of its tokens: positions are added, rotated in, or biased by.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.5",
    looks="Repeats one token; some layer's input, scores or biases must differ between places.",
    tolerance="1e-6 of the largest number; nothing at all differs where positions are forgotten.",
    symptoms="It trains, worse; order is known only through the mask, which counts poorly.",
    causes="Positions are made and never added; the rotation's result is dropped; one position for all places.",
    needs=("logits",),
)
def known(subject: Subject) -> Evidence:
    """`self.rotary(q)` whose result is not kept changes nothing: `q = self.rotary(q)`.

    A model that is meant to have no positions says so: `claims={"positions": False}`.
    """
    if not subject.claims.positions:
        raise NotApplicable("the model is declared to have no positions")
    trace, most = subject.repeated, 0.0
    for attention in self_attentions(trace, subject.length):
        rows = projected_from(trace, attention.value_HSD)
        most = max(most, _variation(attention.product_HTS), 0.0 if rows is None else spread(rows))
        most = max(most, float(_varies(attention.logits_HTS)))
    saw = "no layer's input, scores or biases differ between places" if most < 1e-6 else ""
    return Evidence(measured=most, bound=1e-6, at_least=True, saw=saw)


@law(
    "position/learned-rows",
    statement="Each place of a text looks up its own row of a table of positions.",
    source="Radford et al. 2018, §3: learned position embeddings",
    looks="Watches a pass; in look-ups by indices that no token decides, no two places may share a row.",
    tolerance="Exactly equal indices.",
    symptoms="It trains, worse; some places cannot be told apart.",
    causes="Indices of zeros, divided, clamped or wrapped.",
    needs=("logits",),
)
def learned_rows(subject: Subject) -> Evidence:
    """`self.wpe(torch.zeros(T, dtype=int))` adds one row to every token; `torch.arange(T)` is right."""
    trace, shared, looked = subject.passed, 0, 0
    for event in trace.named("embedding"):
        indices = event.args[1]
        # A table with fewer rows than places is one of kinds of tokens, not of places.
        a_place_each = indices.numel() == subject.length <= len(event.args[0])
        if a_place_each and not trace.is_tainted(indices):
            looked += 1
            shared = max(shared, subject.length - len(indices.unique()))
    if not looked:
        raise NotApplicable("no table of positions is looked up")
    saw = f"{shared} of {subject.length} places share a row of the table" if shared else ""
    return Evidence(measured=shared, bound=0, unit="places", saw=saw)


@law(
    "position/prefix",
    statement="What is said at a place does not depend on how long the text goes on.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.5",
    looks="Runs the first half of a text alone, and compares its logits with those within the whole.",
    tolerance="1e-5 of the largest logit.",
    symptoms="Training on long rows and writing token by token are two different models.",
    causes="Positions counted from the end, scores or tables scaled by the length, a mean over the text.",
    needs=("logits",),
)
def prefix(subject: Subject) -> Evidence:
    """`torch.arange(T - 1, -1, -1)` gives the last token place 0: every place changes when one is added."""
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")
    ids, half = subject.ids(), subject.length // 2
    whole, part = subject.logits(ids)[:, :half], subject.logits(ids[:, :half])
    off = float((whole - part).abs().max() / part.abs().max())
    saw = "the same beginning has other logits in a longer text" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, saw=saw)


@law(
    "position/every-place-differs",
    statement="No two places of a text look alike to the model, up to the longest it takes.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.5",
    looks="Repeats one token over the longest text; compares what the first layer's queries are at every two neighbours.",
    tolerance="Exactly equal queries at different places, where places matter at all; in float32 and, as stated, bf16.",
    symptoms="Order is lost beyond some length; long texts degrade.",
    causes="Positions rounded in bf16 (whole numbers above 256 are), clamped or wrapped; a table shorter than the text.",
    needs=("logits",),
)
def every_place_differs(subject: Subject) -> Evidence:
    """In bf16, 257 is 256: `torch.arange(T, dtype=torch.bfloat16)` gives pairs of places one position."""
    length = min(subject.max_len or subject.length, 600)
    ids = subject.ids()[:, :1].expand(1, length).contiguous()
    model = subject.copied().to(torch.bfloat16).eval()
    query_TX = subject.first_attention(ids, model).query_HTD.float().transpose(0, 1).flatten(1)
    if spread(query_TX) == 0:
        raise NotApplicable("queries do not depend on their place")
    same = (query_TX[1:] == query_TX[:-1]).all(-1)
    n = int(same.sum())
    where = f"places {int(same.nonzero()[0])} and the next, in bf16" if n else ""
    saw = f"{n} of {length - 1} neighbours have the same position" if n else ""
    return Evidence(measured=n, bound=0, unit="pairs", where=where, saw=saw)


@law(
    "position/limit",
    statement="A text longer than the model's longest is refused, or has positions of its own beyond it.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.5",
    looks="Runs one token repeated, one place too long; a place must not have the position of another.",
    tolerance="Queries of the last place that equal an earlier place's in every number.",
    symptoms="Long prompts give confident nonsense instead of an error.",
    causes="Positions taken modulo the table's length, or clamped to its end.",
    needs=("logits",),
)
def limit(subject: Subject) -> Evidence:
    """`pos_emb[positions % max_len]` never fails; `if T > max_len: raise ValueError(...)` tells its user why."""
    longest = subject.max_len
    if longest is None:
        raise NotApplicable("the longest text is not known: max_len=…")
    if longest > 2048:
        raise NotApplicable(f"the longest text ({longest} tokens) is too long to try")
    ids = subject.ids()[:, :1].expand(1, longest + 1).contiguous()
    try:
        given = subject.logits(ids, subject.single).shape[1]
    except Exception:  # noqa: BLE001 - refusing is what is hoped for, whatever the error is called
        return Evidence(measured=0, bound=0, saw="refused")
    if given != longest + 1:
        saw = f"{longest + 1} tokens give logits for {given}: the text was cut without a word"
        return Evidence(measured=longest + 1 - given, bound=0, unit="places", saw=saw)
    query_TX = subject.first_attention(ids, subject.single).query_HTD.transpose(0, 1).flatten(1)
    if spread(query_TX) < subject.noise:
        raise NotApplicable("queries do not depend on their place")
    same = (query_TX[:-1] == query_TX[-1]).all(-1)
    n = int(same.sum())
    where = f"place {longest} looks like place {int(same.nonzero()[0])}" if n else ""
    saw = "a text that is too long is taken, and its positions repeat" if n else ""
    return Evidence(measured=n, bound=0, unit="places", where=where, saw=saw)


@law(
    "position/order",
    statement="The order of earlier tokens matters to a prediction.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.5",
    looks="Swaps two earlier tokens and compares the last logits.",
    tolerance="1e-9 of the largest logit, far above rounding in float64 and below any effect of a position.",
    symptoms="A bag of words: the loss stops early, and what is generated has no grammar.",
    causes="Positions never added, or added to something that is not used.",
    needs=("logits",),
)
def order(subject: Subject) -> Evidence:
    """Attention alone is a weighted mean: it does not know which token came first.

    A model that is meant to have no positions says so: `claims={"positions": False}`.
    """
    if not subject.claims.positions:
        raise NotApplicable("the model is declared to have no positions")
    ids = subject.ids()
    refuse_saturated(subject)
    # The last places but one: a window may hide what is further back.
    b = subject.length - 2
    a = next(i for i in reversed(range(b)) if ids[0, i] != ids[0, b])
    swapped = ids.clone()
    swapped[0, [a, b]] = ids[0, [b, a]]
    before, after = subject.logits(ids)[0, -1], subject.logits(swapped)[0, -1]
    off = float((before - after).abs().max() / before.abs().max())
    bound = 1e-9 if subject.noise < 1e-4 else 1e-6
    saw = f"swapping tokens {a} and {b} changes nothing" if not off >= bound else ""
    return Evidence(measured=off, bound=bound, at_least=True, where="", saw=saw)


@law(
    "position/documents",
    statement="Places are counted within each document of a row.",
    source="Krell et al. 2021, arXiv:2107.02027, §3.2",
    looks="Runs two documents in one row, and each alone, and compares their logits.",
    tolerance="1e-5 of the largest logit.",
    symptoms="A text means something else behind another one; quality depends on how rows are packed.",
    causes="Places go on across documents: `arange(T)` where places since the document's start are meant.",
    needs=("logits",),
)
def documents(subject: Subject) -> Evidence:
    """Rotary scores know distances only, so that counting anew changes nothing; learned positions must begin again."""
    half, ids = subject.length // 2, subject.ids()
    numbers = documents_of(subject, (torch.arange(subject.length)[None] >= half).long())
    packed = subject.logits(ids, **numbers)
    parts = ids[:, :half], ids[:, half:]
    alone = torch.cat(
        [subject.logits(part, **documents_of(subject, torch.zeros_like(part))) for part in parts], 1
    )
    off = float((packed - alone).abs().max() / alone.abs().max())
    saw = "a document has other logits behind another one" if not off <= subject.noise else ""
    return Evidence(measured=off, bound=subject.noise, saw=saw)
