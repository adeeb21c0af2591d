"""The code under test, as the laws see it: a model and whatever else its owner gave, and copies to experiment on.

Experiments run on copies in float64 whenever the model can: a difference is then a difference of mathematics, not
of rounding. Shapes: B rows, T tokens, V vocabulary.
"""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.subject.attentions import PRODUCTS, SOFTMAXES, Attention, attentions, factors
from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import (
    TARGETS,
    Interface,
    Output,
    config_of,
    device_of,
    learn,
    longest_of,
    reads_both_ways,
    vocabulary_of,
)
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.trace import Trace, watch
from trueformer.subject.twins import twins

PROBE = 24  # tokens; long enough for windows, groups and wavelengths to differ
IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What the owner declares, where it is not what most models do; None is for "as usual".

    `scale` multiplies q·k; `rope_base` and `window` as trained; `causal=False` for an encoder; `scaled_logits` where
    they carry a factor at initialisation; `positions=False` for a model that is meant to have none; `pad_id`,
    `bos_id` and `eos_id` as the tokenizer has them; `ignore_index` of the loss; `mask` and `documents` name the
    parameters of the model that take a padding mask (True where a token is real) and the numbers of documents.
    """

    causal: bool = True
    scale: int | float | None = None
    rope_base: int | float | None = None
    window: int | None = None
    positions: bool = True
    scaled_logits: bool = False
    pad_id: int | None = None
    bos_id: int | None = None
    eos_id: int | None = None
    ignore_index: int = IGNORED
    mask: str | None = None
    documents: str | None = None


@dataclass(kw_only=True)
class Subject:
    """A model and its owner's other parts. Only `model` is always there; a part that is None was not given.

    `loss` takes (logits, targets) or (model, batch); `loader` and `val_loader` give batches; `schedule` is a
    scheduler of torch's or a function from the step to the rate; `generate` takes (model, ids, max_new_tokens) and
    what else it knows of temperature, top_k, top_p, min_p and seed; `train_step` makes one update of some batches, at
    `step` if it asks for it; `save` and `load` take a path and what else they name, `step` and `loader` among it;
    `evaluate` takes (model, loader); `load_tokenizer` takes the path of a checkpoint; `token_bytes` is how many bytes
    of text each id stands for, a table or a function of the id, where the tokenizer does not tell; `peak_lr`,
    `warmup_steps` and `max_steps` are what the schedule was asked for.

    `cache` takes (model, n_rows, length) and gives what passes over one batch take along to remember what came before,
    by the names of the model's parameters, such as {"cache": KVCache(...)}, on the model's device and in its dtype; the
    same goes into every pass. Models that take `past_key_values` or `start_pos` need none.

    How data is made: `prepare` takes documents (texts) and gives the loaders of training and validation; `chats` takes
    conversations, each a list of messages as OpenAI has them, and gives batches; `rank_loader` takes (rank, world_size).
    """

    model: nn.Module
    vocab_size: int | None = None
    max_len: int | None = None
    claims: Claims = field(default_factory=Claims)
    loss: Callable[..., Any] | None = None
    optimizer: Any = None
    loader: Any = None
    val_loader: Any = None
    schedule: Any = None
    generate: Callable[..., Any] | None = None
    save: Callable[..., Any] | None = None
    load: Callable[..., Any] | None = None
    tokenizer: Any = None
    train_step: Callable[..., Any] | None = None
    evaluate: Callable[..., Any] | None = None
    load_tokenizer: Callable[..., Any] | None = None
    token_bytes: Any = None
    build: Callable[[], nn.Module] | None = None
    prepare: Callable[[list[str]], Any] | None = None
    chats: Callable[[list[list[dict[str, Any]]]], Any] | None = None
    rank_loader: Callable[..., Any] | None = None
    cache: Callable[..., dict[str, Any]] | None = None
    peak_lr: int | float | None = None
    warmup_steps: int | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        """Reads from the model what was not said.

        Raises:
            ValueError: the vocabulary's size was not given and the model does not tell.
        """
        self.model = getattr(self.model, "_orig_mod", self.model)
        with random_numbers_kept():
            self.vocab_size = self.vocab_size or vocabulary_of(self.copied().eval())
        self.max_len = self.max_len or longest_of(self.model)
        if reads_both_ways(self.model):
            self.claims = dataclasses.replace(self.claims, causal=False)
        if not self.vocab_size:
            raise ValueError(
                "the model does not tell the size of its vocabulary: say vocab_size (--vocab-size)"
            )

    def has(self, part: str) -> bool:
        """Whether the owner gave this part; a model that takes targets has a loss of its own."""
        if part == "loss" and set(TARGETS) & set(inspect.signature(self.model.forward).parameters):
            return True
        return part == "logits" or getattr(self, part) is not None

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for all laws that ask for it by this name."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @functools.cached_property
    def _made(self) -> dict[str, Any]:
        return {}

    @functools.cached_property
    def config(self) -> Any:
        """The configuration that the model carries, if any."""
        return config_of(self.model)

    @property
    def length(self) -> int:
        """How many tokens the probes use."""
        return min(PROBE, self.max_len or PROBE)

    @functools.cached_property
    def interface(self) -> Interface:
        """How the model is called, learnt from a copy of it once."""
        ids = self.ids(1, min(4, self.length))
        with random_numbers_kept(), torch.no_grad():
            return learn(self.copied().eval(), ids, self.claims.mask, self.claims.documents)

    def ids(self, n_rows: int = 1, n_tokens: int | None = None, seed: int = 0) -> Tensor:
        """Random ids (B, T) that are no special ones, as far as those are known."""
        generator = torch.Generator().manual_seed(seed)
        shape = (n_rows, n_tokens or self.length)
        ids = self.usual_ids[torch.randint(len(self.usual_ids), shape, generator=generator)]
        return ids.to(device_of(self.model))

    @functools.cached_property
    def usual_ids(self) -> Tensor:
        """The ids that are neither padding nor the beginning or end of a text."""
        config = self.config
        special = {
            getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "decoder_start")
        }
        special |= {self.claims.pad_id, self.claims.bos_id, self.claims.eos_id}
        usual = [i for i in range(self.vocab_size or 0) if i not in special]
        return torch.tensor(usual or list(range(self.vocab_size or 0)))

    def copied(self) -> nn.Module:
        """A copy of the model as it is: its dtype, mode and weights."""
        return copy.deepcopy(self.model)

    def copied_with(self, *parts: Any) -> tuple[Any, ...]:
        """The model and these parts, copied together, so that a copied optimizer holds the copy's parameters."""
        return twins(self.model, *parts)

    @functools.cached_property
    def exact(self) -> nn.Module:
        """A copy in evaluation mode and float64 (float32 where it cannot), with nothing left at zero.

        Matrices that are all zero, as some initialise their projections, would hide every fault behind them.
        """
        for dtype in (torch.float64, torch.float32):
            model = stirred(self.copied().to(dtype).eval())
            try:
                self.call(model, self.ids(1, min(4, self.length)))
            except (RuntimeError, TypeError, ValueError):
                if dtype is torch.float32:
                    raise
            else:
                return model
        raise AssertionError("the loop returns or raises")

    @functools.cached_property
    def single(self) -> nn.Module:
        """As `exact`, in float32: for what some do in float32 whatever the weights are, such as hiding whole rows."""
        return stirred(self.copied().to(torch.float32).eval())

    @functools.cached_property
    def noise(self) -> float:
        """What rounding alone may do to numbers of `exact`, relative to the largest."""
        # Tables of positions are often made in float32 whatever the weights are: 1e-7, squared by nothing.
        return 1e-5 if dtype_of(self.exact) == torch.float64 else 2e-4

    def call(self, model: nn.Module, ids_BT: Tensor, targets_BT: Tensor | None = None, **more: Any) -> Output:
        """A pass without gradients; random numbers begin the same each time, so that dropout left on is alike."""
        with random_numbers_kept(), torch.no_grad():
            torch.manual_seed(0)
            return self.interface.call(model, ids_BT, targets_BT, **more)

    def logits(self, ids_BT: Tensor, model: nn.Module | None = None, **more: Any) -> Tensor:
        """Logits (B, T, V) of `exact`, or of another copy.

        Raises:
            NotApplicable: passes in evaluation mode draw random numbers, so that none can be compared.
        """
        self._refuse_random_passes()
        return self.call(self.exact if model is None else model, ids_BT, **more).logits

    def _refuse_random_passes(self) -> None:
        if self._passes_are_random:
            raise NotApplicable("passes in evaluation mode draw random numbers: see block/dropout-off")

    @functools.cached_property
    def _passes_are_random(self) -> bool:
        """Whether the seed decides: a model that remembers its last pass differs with the same seed, too."""
        ids, seen = self.ids(1, min(4, self.length)), []
        for seed in (1, 2, 1):
            with random_numbers_kept(), torch.no_grad():
                torch.manual_seed(seed)
                seen.append(self.interface.call(self.exact, ids).logits)
        first, other, again = seen
        return torch.equal(first, again) and not torch.allclose(first, other, rtol=1e-6, atol=0)

    def trace(
        self, ids_BT: Tensor, model: nn.Module | None = None, until: Callable[[Trace], bool] | None = None
    ) -> Trace:
        """A watched pass of `exact`, or of another copy; only its beginning where `until` becomes true."""
        model = self.exact if model is None else model
        ids_BT = ids_BT.clone()
        with watch(model, [ids_BT], until) as trace:
            self.call(model, ids_BT)
        return trace

    def first_attention(self, ids_BT: Tensor, model: nn.Module | None = None) -> Attention:
        """The first self-attention of a pass over one row; what comes after it is not run."""
        trace = self.trace(ids_BT, model, until=lambda trace: has_attention(trace, ids_BT.shape[1]))
        return self_attentions(trace, ids_BT.shape[1])[0]

    @functools.cached_property
    def influence(self) -> Tensor:
        """How far changing token t moves the logits at s, as a share of the most that any change does: (T, T).

        Raises:
            NotApplicable: no logit depends on any token.
        """
        ids, usual = self.ids(), self.usual_ids.to(device_of(self.model))
        other = usual[(torch.searchsorted(usual, ids) + 1) % len(usual)]
        changed = torch.where(torch.eye(self.length, dtype=torch.bool, device=ids.device), other, ids)
        both = self.logits(torch.cat([ids, changed]))
        moved_TT = (both[1:] - both[:1]).abs().amax(-1)
        if not moved_TT.any():
            raise NotApplicable("no logit depends on any token")
        return moved_TT / moved_TT.max()

    @functools.cached_property
    def passed(self) -> Trace:
        """One watched pass over random ids, which many laws share."""
        return self.trace(self.ids())

    @functools.cached_property
    def repeated(self) -> Trace:
        """One watched pass over a single token, repeated: only positions can tell its places apart.

        Raises:
            NotApplicable: as `logits`.
        """
        self._refuse_random_passes()
        return self.trace(self.ids()[:, :1].expand(1, self.length))

    @functools.cached_property
    def attentions(self) -> list[Attention]:
        """The self-attentions of `passed`.

        Raises:
            NotApplicable: there is none; or as `logits`.
        """
        self._refuse_random_passes()
        return self_attentions(self.passed, self.length)


def self_attentions(trace: Trace, length: int) -> list[Attention]:
    """The attentions of a trace in which a text attends to itself.

    Raises:
        NotApplicable: there is none.
    """
    found = [
        a for a in attentions(trace) if a.weights_HTS.shape[-2:] == (length, length) and "cross" not in a.path
    ]
    if not found:
        raise NotApplicable("no attention was seen in a pass: no two products with a softmax between them")
    return found


def has_attention(trace: Trace, length: int) -> bool:
    """Whether the newest event ends the first self-attention."""
    newest = trace.events[-1]
    if newest.op not in PRODUCTS or not any(event.op in SOFTMAXES | {"exp"} for event in trace.events):
        return False
    return any(factor.shape[-2:] == (length, length) for factor in factors(newest)) and bool(
        attentions(trace)
    )


def dtype_of(model: nn.Module) -> torch.dtype:
    """The dtype of the first floating parameter."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def stirred(model: nn.Module) -> nn.Module:
    """The model, with random numbers in matrices that are all zero and a little noise on vectors."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point() or parameter.is_meta:
                continue
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            if parameter.ndim < 2:
                parameter.add_(0.1 * noise)
            elif not parameter.any():
                parameter.copy_(noise / max(1, parameter.shape[-1]) ** 0.5)
    return model
