"""How a model is called and what it gives back: read from its signature and from one call, never from its class.

Understood are `model(ids)` and `model(input_ids=…)`, with targets under any of the usual names; a tensor of logits, a
tuple or dictionary that holds it with a loss, or an object with `.logits`. Shapes: B rows, T tokens, V vocabulary.
"""

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.subject.errors import NotUnderstood
from trueformer.subject.trace import Event, Trace, watch

TARGETS = ("targets", "labels", "target", "y", "targets_BT")
MASKS, DOCUMENTS = ("attention_mask",), ("document_ids", "doc_ids")
HINT = "expected a model that takes ids (B, T) and gives logits (B, T, V), alone or with a loss"


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a call gave: logits (B, T, V), the model's own loss if it made one, and the whole result."""

    logits: Tensor
    loss: Tensor | None
    whole: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """How to call one model.

    `targets`, `mask` (of padding: one or True where a token is real) and `documents` (a number for each token's
    document) are the names of its parameters, if it has them; `fixed` is passed always; `needs_targets`
    where it insists on them, or gives logits at all positions only with them; `encoder` are the ids of an
    encoder–decoder's other side.
    """

    targets: str | None = None
    mask: str | None = None
    documents: str | None = None
    fixed: tuple[tuple[str, Any], ...] = ()
    needs_targets: bool = False
    encoder: Tensor | None = None

    def masked(self, real_BT: Tensor) -> dict[str, Any]:
        """The mask as the model takes it, as an argument: `attention_mask` in whole numbers, others as truth values."""
        assert self.mask is not None
        return {self.mask: real_BT.long() if self.mask == "attention_mask" else real_BT.bool()}

    def call(self, model: nn.Module, ids_BT: Tensor, targets_BT: Tensor | None = None, **more: Any) -> Output:
        """Logits at every position, and the model's own loss where `targets_BT` are given and it takes them.

        Raises:
            NotUnderstood: what came back holds no logits.
        """
        if targets_BT is None and self.needs_targets:
            targets_BT = ids_BT
        named = dict(self.fixed) | more
        if targets_BT is not None and self.targets is not None:
            named[self.targets] = targets_BT
        if self.encoder is not None:
            rows = self.encoder.expand(len(ids_BT), -1)
            return read(model(input_ids=rows, decoder_input_ids=ids_BT, **named), ids_BT)
        return read(model(ids_BT, **named), ids_BT)


def read(result: Any, ids_BT: Tensor) -> Output:
    """The logits and the loss in whatever a model gave.

    Raises:
        NotUnderstood: there is no tensor of shape (B, T or 1, V) in it.
    """
    if isinstance(result, Tensor):
        parts: list[Any] = [result]
    elif isinstance(result, dict):
        parts = [result.get("logits"), result.get("loss")]
    elif hasattr(result, "logits"):
        parts = [result.logits, getattr(result, "loss", None)]
    else:
        parts = list(result) if isinstance(result, tuple | list) else []
    tensors = [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]
    logits = [tensor for tensor in tensors if tensor.ndim == 3 and tensor.shape[0] == len(ids_BT)]
    losses = [tensor for tensor in tensors if tensor.ndim == 0]
    if not logits:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise NotUnderstood(f"the model gave {type(result).__name__} with tensors of shape {shapes}: {HINT}")
    return Output(logits=logits[0], loss=losses[0] if losses else None, whole=result)


def learn(
    model: nn.Module, ids_BT: Tensor, mask: str | None = None, documents: str | None = None
) -> Interface:
    """How this model is called, tried on `ids_BT`; `mask` and `documents` are names that the owner declares.

    Raises:
        NotUnderstood: it gives no logits, or only the last position's and takes no targets.
    """
    parameters = inspect.signature(model.forward).parameters
    names = list(parameters)
    targets = _first(TARGETS, names)
    fixed = tuple((name, False) for name in ("use_cache",) if name in names)
    takes_source = getattr(config_of(model), "is_encoder_decoder", False) and "decoder_input_ids" in names
    plain = Interface(
        targets=targets,
        needs_targets=targets is not None and parameters[targets].default is inspect.Parameter.empty,
        mask=mask or _first(MASKS, names),
        documents=documents or _first(DOCUMENTS, names),
        fixed=fixed,
        encoder=ids_BT[:1] if takes_source else None,
    )
    if plain.call(model, ids_BT).logits.shape[1] == ids_BT.shape[1]:
        return plain
    full = replace(plain, needs_targets=True)
    shape = full.call(model, ids_BT).logits.shape if full.targets else (0, 0)
    if shape[1] != ids_BT.shape[1]:
        raise NotUnderstood(
            f"the model gives the last position's logits only ({tuple(shape)} for ids {tuple(ids_BT.shape)}): {HINT}, "
            f"or one that gives all of them when it gets targets (a parameter called {' or '.join(TARGETS)})"
        )
    return full


def _first(wanted: tuple[str, ...], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def call_by_name(function: Any, *order: str, **offered: Any) -> Any:
    """Calls a user's function with what it asks for by name; what it names otherwise gets `order`, in order.

    Raises:
        ValueError: it asks for something that is not offered.
    """
    parameters = inspect.signature(function).parameters.values()
    spare = [name for name in order if name not in {p.name for p in parameters}]
    given: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in offered:
            given[parameter.name] = offered[parameter.name]
        elif parameter.default is parameter.empty:
            if not spare:
                raise ValueError(
                    f"{getattr(function, '__name__', function)} asks for {parameter.name!r}: "
                    f"expected parameters among {sorted(offered)}"
                )
            given[parameter.name] = offered[spare.pop(0)]
    positional = [given[p.name] for p in parameters if p.name in given and p.kind == p.POSITIONAL_ONLY]
    named = {p.name: given[p.name] for p in parameters if p.name in given and p.kind != p.POSITIONAL_ONLY}
    return function(*positional, **named)


def config_of(model: nn.Module) -> Any:
    """The configuration that the model carries, or the first of its modules that has one; None without one."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None:
            return config.get_text_config() if hasattr(config, "get_text_config") else config
    return None


def reads_both_ways(model: nn.Module) -> bool:
    """Whether it says that it is an encoder, by the name that Hugging Face gives those."""
    return type(model).__name__.endswith(("ForMaskedLM", "ForPreTraining")) and not getattr(
        config_of(model), "is_decoder", False
    )


def vocabulary_of(model: nn.Module) -> int | None:
    """The ids it knows, by its configuration, by what its ids look up, or by its largest embedding."""
    for owner in (config_of(model), model):
        size = getattr(owner, "vocab_size", None)
        if isinstance(size, int):
            return size
    sizes = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    return _looked_up(model) or max(sizes, default=None)


def _looked_up(model: nn.Module) -> int | None:
    """The rows of the table that ids index, seen in a pass over two of them; None where that fails."""
    ids = torch.zeros(1, 2, dtype=torch.long, device=device_of(model))
    try:
        with torch.no_grad(), watch(model, [ids], until=lambda trace: bool(_look_ups(trace))) as trace:
            model(ids)
    except Exception:  # noqa: BLE001 - a model that needs more than ids is asked for its size in words
        return None
    found = _look_ups(trace)
    return found[0].args[0].shape[0] if found else None


def _look_ups(trace: Trace) -> list[Event]:
    return [
        event for event in trace.events[-1:] if event.op == "embedding" and trace.is_tainted(event.args[1])
    ]


LENGTHS = ("max_position_embeddings", "n_positions", "block_size", "max_len", "max_seq_len", "context_length",
           "seq_len", "max_length", "n_ctx", "max_target_positions")  # fmt: skip


def longest_of(model: nn.Module) -> int | None:
    """The most tokens that the model says it takes, under any of the usual names."""
    config = config_of(model)
    for owner in (config, getattr(model, "cfg", None), getattr(model, "args", None), model):
        for name in LENGTHS:
            value = owner.get(name) if isinstance(owner, dict) else getattr(owner, name, None)
            if isinstance(value, int) and value > 0:
                return value - _places_before_the_first(config)
    return None


def _places_before_the_first(config: Any) -> int:
    """RoBERTa's kin count places from behind the padding id."""
    if getattr(config, "model_type", "") not in ("roberta", "xlm-roberta", "camembert"):
        return 0
    return config.pad_token_id + 1


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first tensor is."""
    tensor = next(iter(model.state_dict().values()), None)
    return tensor.device if isinstance(tensor, Tensor) else torch.device("cpu")
