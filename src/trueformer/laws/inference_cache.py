"""Caches and padding, seen in the logits: what a model remembers is what it would compute. Part of `inference.py`.

Shapes: B rows, T tokens, V vocabulary.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable, NotUnderstood
from trueformer.subject.interface import Output, call_by_name
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject

TOLERANCE = "1e-5 of the largest logit: the order of sums differs, in float64, with tables in float32."


def compared(subject: Subject, got_BTV: Tensor, wanted_BTV: Tensor, saw: str) -> Evidence:
    """Evidence that logits are the same, with the position where they differ most."""
    off_BT = (got_BTV - wanted_BTV).abs().amax(-1)
    measured = float(off_BT.max() / wanted_BTV.abs().max())
    row, t = divmod(int(off_BT.argmax()), off_BT.shape[1])
    broken = not measured <= subject.noise
    return Evidence(
        measured=measured,
        bound=subject.noise,
        unit="of the largest logit",
        where=f"row {row}, token {t}" if broken else "",
        saw=saw if broken else "",
    )


Kept = dict[str, Any]  # what a pass takes along


def cached(subject: Subject, ids_BT: Tensor, pieces: Sequence[int]) -> Tensor:
    """Logits (B, T, V), computed in pieces that each see the ones before through the cache.

    Raises:
        NotApplicable: the model has neither `past_key_values` nor `start_pos`, and no cache was given.
    """
    kept, after = _at_first(subject, ids_BT)
    model = copy.deepcopy(subject.exact) if "start_pos" in kept else subject.exact  # its cache is inside
    start, parts = 0, []
    for length in pieces:
        out = subject.call(model, ids_BT[:, start : start + length], **kept)
        start += length
        kept = after(kept, start, out)
        parts.append(out.logits)
    return torch.cat(parts, dim=1)


def _at_first(subject: Subject, ids_BT: Tensor) -> tuple[Kept, Callable[[Kept, int, Output], Kept]]:
    """What the first pass takes along, and what the next one does."""
    known = inspect.signature(subject.exact.forward).parameters
    if not subject.claims.causal:
        raise NotApplicable("the model reads in both directions")
    if subject.cache is not None:
        return new_cache(subject, *ids_BT.shape), _the_same
    if "start_pos" in known:
        return {"start_pos": 0}, _from_there
    if {"past_key_values", "use_cache"} <= set(known):
        return {"past_key_values": None, "use_cache": True}, _given_back
    raise NotApplicable("the model takes no past_key_values and no start_pos: or supply cache=")


def new_cache(subject: Subject, n_rows: int, length: int) -> Kept:
    """What passes of `exact` take along, as the owner makes it for so many rows and tokens."""
    assert subject.cache is not None
    order = ("model", "n_rows", "length")
    return call_by_name(subject.cache, *order, model=subject.exact, n_rows=n_rows, length=length)


def _the_same(kept: Kept, start: int, out: Output) -> Kept:
    return kept


def _from_there(kept: Kept, start: int, out: Output) -> Kept:
    return {"start_pos": start}


def _given_back(kept: Kept, start: int, out: Output) -> Kept:
    past = getattr(out.whole, "past_key_values", None)
    if past is None:
        raise NotApplicable("the model gives no past_key_values back")
    return kept | {"past_key_values": past}


@law(
    "inference/cache-by-token",
    statement="Logits computed token by token with the cache are those of one pass, at every position.",
    source="N9 of the catalogue of defects",
    looks="Feeds a text token by token with past_key_values, start_pos or the owner's cache; compares with one pass.",
    tolerance=TOLERANCE,
    symptoms="Generation is worse than the loss promises, and the more so the longer the text.",
    causes="Positions that begin at 0 for each token; one that advances after the first layer; keys not rotated.",
    needs=("logits",),
)
def cache_by_token(subject: Subject) -> Evidence:
    """Token 7 is fed alone. If it is embedded at position 0, or sees only itself, its logits are a first token's."""
    ids = subject.ids(2)
    got = cached(subject, ids, [1] * subject.length)
    return compared(subject, got, subject.logits(ids), "with the cache, a token's logits differ")


@law(
    "inference/cache-by-pieces",
    statement="A prompt fed in pieces gives the logits of the whole.",
    source="Chunked prefill: Agrawal et al. 2023, arXiv:2308.16369",
    looks="Feeds a text in threes, and in two unequal pieces, with past_key_values, start_pos or the owner's cache.",
    tolerance=TOLERANCE,
    symptoms="A long prompt, or the second turn of a chat, is misread.",
    causes="A causal mask that is aligned to the first key; none at all when there is a cache.",
    needs=("logits",),
)
def cache_by_pieces(subject: Subject) -> Evidence:
    """With 7 keys kept and 3 new queries, the mask is 3 by 10 and ends in a triangle at the right.

    `is_causal=True` of scaled_dot_product_attention puts the triangle at the left: each query sees one key.
    """
    ids, length = subject.ids(2), subject.length
    if length < 4:
        raise NotApplicable("the model takes too few tokens")
    threes = [3] * (length // 3) + [length % 3] * (length % 3 > 0)
    wanted = subject.logits(ids)
    seen = [
        compared(
            subject, cached(subject, ids, pieces), wanted, f"in pieces of {pieces[:2]}… the logits differ"
        )
        for pieces in (threes, [length // 3 * 2, length - length // 3 * 2])
    ]
    return max(seen, key=lambda evidence: evidence.measured)


@law(
    "inference/last-position",
    statement="Without targets a model gives the logits that it gives with them, of every position or of the last.",
    source="The model that learns is the model that writes",
    looks="Calls the model with targets and without, and compares the logits of the places that both tell of.",
    tolerance=TOLERANCE,
    symptoms="The loss is good and what is written is nonsense.",
    causes="The branch without targets leaves out the head or a norm, or takes a place before the last.",
    needs=("logits",),
)
def last_position(subject: Subject) -> Evidence:
    """`if targets is None: return self.lm_head(x[:, [-1]]), None` saves the other rows of a large product.

    `x[:, [-1]]` alone are hidden numbers; `x[:, [-2]]` predicts the token that was just given.
    """
    if subject.interface.targets is None:
        raise NotApplicable("the model takes no targets")
    ids, plain = subject.ids(2), replace(subject.interface, needs_targets=False)
    try:
        wanted = subject.logits(ids, targets_BT=ids.long())
        with random_numbers_kept(), torch.no_grad():
            got = plain.call(subject.exact, ids).logits
    except NotUnderstood as error:
        raise NotApplicable("the model gives logits with targets only, or without them only") from error
    if got.shape[-1] != wanted.shape[-1]:
        saw = f"{got.shape[-1]} numbers a place without targets, {wanted.shape[-1]} with them"
        return Evidence(measured=float("inf"), bound=subject.noise, saw=saw)
    return compared(subject, got, wanted[:, -got.shape[1] :], "without targets the logits differ")


@law(
    "inference/rows",
    statement="The logits of a row do not depend on the rows beside it.",
    source="T20 of the catalogue of defects",
    looks="Compares three rows together with each alone.",
    tolerance=TOLERANCE,
    symptoms="An answer changes with who else is asking.",
    causes="Statistics over the batch; a view that mixes rows and heads; experts that overflow.",
    needs=("logits",),
)
def rows(subject: Subject) -> Evidence:
    """`x.view(T, B, H, D)` of a (B, T, H·D) tensor gives each row parts of the others."""
    ids = subject.ids(3)
    alone = torch.cat([subject.logits(row[None]) for row in ids])
    return compared(subject, subject.logits(ids), alone, "beside others, a row's logits differ from its own")


def absolute_positions(subject: Subject) -> bool:
    """Whether the places of one token, repeated, can be told apart: by distances alone they cannot."""
    logits_TV = subject.logits(subject.ids()[:, :1].expand(1, subject.length))[0]
    return bool((logits_TV - logits_TV[0]).abs().max() > subject.noise * logits_TV.abs().max())


def padded(subject: Subject, left: bool) -> Evidence:
    """Two rows of unequal length, the shorter one padded, compared with each alone where there is text."""
    if subject.interface.mask is None or subject.interface.encoder is not None:
        raise NotApplicable("the model takes no attention_mask (or claims.mask)")
    length = subject.length
    gap = length // 3
    ids, mask = subject.ids(2), torch.ones(2, length, dtype=torch.long)
    short = ids[1, : length - gap].clone()
    text = slice(gap, length) if left else slice(0, length - gap)
    mask[1, : gap if left else length] = 0
    mask[1, text] = 1
    ids[1] = ids[0, 0]
    ids[1, text] = short
    more: dict[str, Any] = {subject.interface.mask: mask.bool() if subject.claims.mask else mask}
    counted: dict[str, Any] = {}  # positions that are said, for the padded rows and for each alone
    if left and "position_ids" in inspect.signature(subject.exact.forward).parameters:
        more["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        counted["position_ids"] = torch.arange(length)[None]
    try:
        got = subject.logits(ids, **more)
    except (RuntimeError, ValueError, TypeError) as error:
        raise NotApplicable(f"its attention_mask is not one of ones for text, (B, T): {error}") from error
    if left and "position_ids" not in more and absolute_positions(subject):
        raise NotApplicable("it takes no position_ids, so that padding in front moves the text")
    whole = subject.logits(ids[:1], **counted)
    wanted = subject.logits(short[None], **{name: told[:, : len(short)] for name, told in counted.items()})
    seen = (
        compared(subject, got[:1], whole, "beside a padded row, a whole one's logits differ"),
        compared(subject, got[1:, text], wanted, "padding changes the logits of the text beside it"),
    )
    return max(seen, key=lambda evidence: evidence.measured)


@law(
    "inference/right-padding",
    statement="Padding on the right, masked, changes no logit of the text.",
    source="T20 of the catalogue of defects",
    looks="Pads a row on the right, with attention_mask, and compares its text with the row alone.",
    tolerance=TOLERANCE,
    symptoms="Batches score worse than single texts; accuracy depends on the batch size.",
    causes="The mask is added to the scores as 0 and 1; it is not used; it is inverted.",
    needs=("logits",),
)
def right_padding(subject: Subject) -> Evidence:
    """`scores + mask` with a mask of 0 and 1 hides nothing; it must be 0 and -inf."""
    return padded(subject, left=False)


@law(
    "inference/left-padding",
    statement="Padding on the left, masked and with positions that count from the text, changes no logit of it.",
    source="T20 of the catalogue of defects",
    looks="Pads a row on the left, with attention_mask and position_ids, and compares with the row alone.",
    tolerance=TOLERANCE,
    symptoms="Batched generation is worse than single, for the shorter prompts.",
    causes="position_ids or the mask are ignored when both padding and causality are to be kept.",
    needs=("logits",),
)
def left_padding(subject: Subject) -> Evidence:
    """Generating in batches pads in front, so that the last tokens stand together. The text must not see the padding.

    Absolute positions must count from its first token; rotary ones need not, as only distances matter.
    """
    if not subject.claims.causal:
        raise NotApplicable("the model reads in both directions")
    return padded(subject, left=True)
