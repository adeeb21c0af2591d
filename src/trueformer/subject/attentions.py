"""Finds the attention in a trace, whatever its author called it and however it was written.

Attention is two products of tensors that both come from the input, where the first one's result, through a softmax
or an exponential and whatever else keeps its size, becomes a factor of the second. Shapes: H heads, T queries, S keys,
D the width of a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from trueformer.subject.trace import Event, Trace

PRODUCTS = {"bmm", "mm", "baddbmm", "addmm"}
SOFTMAXES = {"_softmax", "_safe_softmax"}
NORMS = {"native_layer_norm", "_fused_rms_norm", "rsqrt", "linalg_vector_norm", "pow", "mean"}
ROOM = 2  # a row may be this much longer inside the softmax: attention sinks are further columns


@dataclass(kw_only=True, slots=True)
class Attention:
    """One attention: `path` is the module that ran it; what it used, as it was used.

    `product_HTS` is q·k as multiplied; `logits_HTS` goes into the softmax (masked), None where there is no plain one;
    `weights_HTS` multiplies the values, in the event `mixing`. `factor` is the product of all numbers that scaled
    q, k or the scores; `normed` where both were normed; `tables` are what q met that no input reaches, as cosines.
    """

    path: str
    mixing: Event
    query_HTD: Tensor
    key_HSD: Tensor
    value_HSD: Tensor
    product_HTS: Tensor
    logits_HTS: Tensor | None
    softmax_HTS: Tensor | None
    weights_HTS: Tensor
    mixed_HTD: Tensor
    factor: float
    normed: bool
    softmax_axis_is_keys: bool | None
    tables: list[Tensor]
    has_sinks: bool

    @property
    def d_head(self) -> int:
        """The width of a head, as the product sees it."""
        return self.query_HTD.shape[-1]


def attentions(trace: Trace) -> list[Attention]:
    """Every attention in the trace, in the order of running."""
    found = []
    for event in trace.named(*PRODUCTS):
        for side in (0, 1):
            attention = _as_attention(trace, event, side)
            if attention is not None:
                found.append(attention)
                break
    return found


def factors(event: Event) -> tuple[Tensor, Tensor]:
    """The two tensors that a product multiplies, each with three axes."""
    pair = event.args[-2:] if event.op in ("bmm", "mm") else event.args[1:3]
    first, second = (tensor if tensor.ndim == 3 else tensor[None] for tensor in pair)
    return first, second


def _as_attention(trace: Trace, event: Event, side: int) -> Attention | None:
    """Reads `event` as weights times values, the weights being its factor `side`."""
    weights, values = factors(event)[side], factors(event)[1 - side]
    if not (trace.is_tainted(weights) and trace.is_tainted(values)):
        return None
    chain = _back_to_product(trace, weights)
    if chain is None:
        return None
    scores, softmax = chain
    left, right = factors(scores)
    if not (trace.is_tainted(left) and trace.is_tainted(right)):
        return None
    weights = weights if side == 0 else weights.transpose(-1, -2)
    values = values if side == 0 else values.transpose(-1, -2)
    right = right.transpose(-1, -2)
    return _described(trace, event, side, scores, softmax, weights, values, left, right)


def _back_to_product(trace: Trace, weights: Tensor) -> tuple[Event, Event | None] | None:
    """From the weights to the product they come from, through a softmax or an exponential of about the same size."""
    waiting = [(event, None, False) for event in reversed(trace.wrote(weights))]
    seen: set[int] = set()
    while waiting:
        event, softmax, exponential = waiting.pop()
        if id(event) in seen or not event.tainted or not isinstance(event.value, Tensor):
            continue
        seen.add(id(event))
        if event.op in PRODUCTS:
            if event.value.numel() == weights.numel() and (softmax is not None or exponential):
                return event, softmax
            continue
        if event.op in SOFTMAXES and softmax is None:
            softmax = event
        exponential = exponential or event.op in ("exp", "sigmoid")
        if weights.numel() <= max(t.numel() for t in [event.value, *event.tensors]) <= ROOM * weights.numel():
            waiting += [(parent, softmax, exponential) for parent in event.parents]
    return None


def _described(
    trace: Trace,
    mixing: Event,
    side: int,
    scores: Event,
    softmax: Event | None,
    weights: Tensor,
    values: Tensor,
    left: Tensor,
    right: Tensor,
) -> Attention:
    if (left.shape[-2], right.shape[-2]) != tuple(weights.shape[-2:]):
        left, right = right, left
    on_left, on_right = _scaled(trace, left), _scaled(trace, right)
    into = softmax.args[0] if softmax is not None else None
    return Attention(
        path=mixing.path or scores.path,
        mixing=mixing,
        query_HTD=left,
        key_HSD=right,
        value_HSD=values,
        product_HTS=left @ right.transpose(-1, -2),
        logits_HTS=_like(into, weights),
        softmax_HTS=None if softmax is None else _like(softmax.value, weights),
        weights_HTS=weights,
        mixed_HTD=mixing.value if side == 0 else mixing.value.transpose(-1, -2),
        factor=on_left.factor * on_right.factor * _between(trace, scores, softmax, weights),
        normed=on_left.normed and on_right.normed,
        softmax_axis_is_keys=None if softmax is None else _over_keys(softmax, weights),
        tables=on_left.tables,
        has_sinks=softmax is not None and softmax.value.numel() > weights.numel(),
    )


def _like(tensor: Tensor | None, weights: Tensor) -> Tensor | None:
    if tensor is None or tensor.numel() != weights.numel():
        return None
    return tensor.reshape(weights.shape)


def _over_keys(softmax: Event, weights: Tensor) -> bool:
    """Whether its axis is the one that the values are summed over, judged by the numbers where shapes cannot."""
    tensor, axis = softmax.value, softmax.args[1]
    if softmax.value.numel() > weights.numel():
        return axis % tensor.ndim == tensor.ndim - 1
    columns, rows = weights.sum(-2), weights.sum(-1)
    return bool((rows - 1).abs().max() <= (columns - 1).abs().max())


@dataclass(slots=True)
class _Path:
    factor: float
    normed: bool
    tables: list[Tensor]


def _scaled(trace: Trace, tensor: Tensor) -> _Path:
    """The numbers that scaled a query or key since its projection, whether it was normed, the tables it met."""
    path = _Path(1.0, False, [])
    for event in _main_line(trace, tensor):
        if event.op in PRODUCTS | {"convolution", "embedding"}:
            break
        if event.op in NORMS or _is_norm(trace, event):
            path.normed = True
            break
        number = _number_of(trace, event)
        path.factor *= 1.0 if number is None else number
        path.tables += [table for table in event.tensors if _is_table(trace, table)]
    return path


def _is_table(trace: Trace, tensor: Tensor) -> bool:
    numbers = tensor.is_floating_point() or tensor.is_complex()
    return tensor.ndim >= 2 and numbers and not trace.is_tainted(tensor)


def _main_line(trace: Trace, tensor: Tensor) -> Iterator[Event]:
    """The events from a tensor back, always through the first parent that the input reaches."""
    seen: set[int] = set()
    parents = trace.wrote(tensor)
    while parents:
        tainted = [event for event in reversed(parents) if event.tainted and id(event) not in seen]
        if not tainted:
            return
        event = tainted[0]
        seen.add(id(event))
        yield event
        parents = event.parents


def projection(trace: Trace, tensor: Tensor) -> Event | None:
    """The product that made a query, key or value; None where none is seen."""
    return next((event for event in _main_line(trace, tensor) if event.op in PRODUCTS), None)


def projected_from(trace: Trace, tensor: Tensor) -> Tensor | None:
    """The rows (T, C) that were projected to make a query, key or value; None where no projection is seen."""
    event = projection(trace, tensor)
    rows = [] if event is None else [factor for factor in factors(event) if trace.is_tainted(factor)]
    return rows[0].reshape(-1, rows[0].shape[-1]) if rows else None


def _is_norm(trace: Trace, event: Event) -> bool:
    """Whether a value is multiplied or divided by another that depends on the input and is smaller."""
    tensors = event.tensors
    return (
        event.op in ("mul", "div")
        and len(tensors) == 2
        and all(trace.is_tainted(tensor) for tensor in tensors)
        and tensors[0].numel() != tensors[1].numel()
    )


def _number_of(trace: Trace, event: Event) -> float | None:
    """The number that a multiplication or division scales by, if it is one."""
    if event.op not in ("mul", "div"):
        return None
    others = [arg for arg in event.args if not (isinstance(arg, Tensor) and trace.is_tainted(arg))]
    if len(others) != 1 or (isinstance(others[0], Tensor) and others[0].numel() != 1):
        return None
    number = float(others[0])
    return 1 / number if event.op == "div" and number else number


def _between(trace: Trace, scores: Event, softmax: Event | None, weights: Tensor) -> float:
    """The numbers that scaled the scores between product and softmax; `baddbmm` brings its own."""
    factor = float(scores.kwargs.get("alpha", 1.0)) if scores.op in ("baddbmm", "addmm") else 1.0
    start = softmax.args[0] if softmax is not None else weights
    for event in _main_line(trace, start):
        if event is scores:
            break
        number = _number_of(trace, event)
        factor *= 1.0 if number is None else number
    return factor
