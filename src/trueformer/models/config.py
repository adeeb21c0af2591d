"""The shape of a decoder, as data; every impossible size is refused here, in one place.

Leaves out torch: a configuration can be made, printed and saved without importing it.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length a model was trained at.

    `linear` divides all frequencies by `factor` (Chen et al. 2023, arXiv 2306.15595); `ntk` raises the base
    instead (bloc97 2023); `yarn` blends by wavelength (Peng et al. 2023, arXiv 2309.00071); `llama3` is that
    of Llama 3.1.
    """

    kind: Literal["linear", "ntk", "yarn", "llama3"]
    factor: float
    original_max_len: int
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    attention_factor: float | None = None  # yarn; None: 0.1 ln(factor) + 1

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise ValueError(
                f"rope factor is {self.factor}: expected at least 1 (1 leaves lengths as they are)"
            )
        if self.original_max_len < 1:
            raise ValueError(
                f"original_max_len is {self.original_max_len}: expected the trained length, at least 1"
            )
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor is {self.low_freq_factor} and high_freq_factor {self.high_freq_factor}: "
                "expected 0 < low < high, turns within the trained length (1 and 4 in Llama 3)"
            )
        if not 0 < self.beta_slow < self.beta_fast:
            raise ValueError(
                f"beta_slow is {self.beta_slow} and beta_fast {self.beta_fast}: "
                "expected 0 < slow < fast, turns within the trained length (1 and 32 in YaRN)"
            )
        if self.attention_factor is not None and not self.attention_factor > 0:
            raise ValueError(
                f"attention_factor is {self.attention_factor}: expected a number above 0, or none"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """A decoder-only transformer. Fields left None are derived at construction and then always set.

    Raises:
        ValueError: sizes that cannot work, with the value, what was expected and the remedy.
    """

    vocab_size: int
    max_len: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None  # None: n_heads
    head_dim: int | None = None  # None: d_model / n_heads
    d_ff: int | None = None  # None: 4 d_model, or 8/3 d_model rounded up to a multiple of 32 for swiglu
    positions: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    rope_base: float = 10_000.0
    rope_layout: Literal["half", "interleaved"] = "half"
    rope_dim: int | None = None  # None: head_dim
    rope_scaling: RopeScaling | None = None
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_eps: float = 1e-6
    norm_placement: Literal["pre", "post"] = "pre"
    qk_norm: bool = True
    feed_forward: Literal["swiglu", "gelu", "gelu_tanh", "relu2"] = "swiglu"
    attention_bias: bool = False
    feed_forward_bias: bool = False
    window: int | None = None  # a query sees itself and the window - 1 tokens before it
    attention_sinks: bool = False  # one learned logit a head in the softmax's denominator
    dropout: float = 0.0
    tied: bool = True
    logit_softcap: float | None = None
    init_std: float = 0.02
    residual_init: Literal["scaled", "zero"] = "scaled"  # scaled: init_std / sqrt(2 n_layers)

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_len", "d_model", "n_layers", "n_heads"):
            _positive(name, getattr(self, name))
        self._derive()
        for name in ("n_kv_heads", "head_dim", "d_ff", "rope_dim"):
            _positive(name, getattr(self, name))
        self._validate()

    def _derive(self) -> None:
        def default(name: str, value: int) -> None:
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

        if self.head_dim is None and self.d_model % self.n_heads:
            near = self.n_heads * max(1, round(self.d_model / self.n_heads))
            raise ValueError(
                f"d_model is {self.d_model}, not divisible by n_heads = {self.n_heads}: "
                f"use d_model = {near}, another n_heads, or give head_dim"
            )
        default("n_kv_heads", self.n_heads)
        default("head_dim", self.d_model // self.n_heads)
        default("rope_dim", self.head_dim)  # type: ignore[arg-type]
        wide = 32 * -(-8 * self.d_model // 96) if self.feed_forward == "swiglu" else 4 * self.d_model
        default("d_ff", wide)

    def _validate(self) -> None:
        if self.n_heads % self.n_kv_heads:  # type: ignore[operator]
            raise ValueError(
                f"n_kv_heads is {self.n_kv_heads}, which does not divide n_heads = {self.n_heads}: "
                "each key head must serve the same number of query heads"
            )
        if self.positions == "rope" and (self.rope_dim % 2 or self.rope_dim > self.head_dim):  # type: ignore[operator]
            raise ValueError(
                f"rope_dim is {self.rope_dim}: expected an even width of at most head_dim = {self.head_dim}, "
                "since rotary embeddings turn pairs of channels"
            )
        if self.rope_scaling is not None:
            self._validate_scaling(self.rope_scaling)
        if not self.rope_base > 1:
            raise ValueError(f"rope_base is {self.rope_base}: expected more than 1 (10000 is usual)")
        if self.window is not None:
            _positive("window", self.window)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: expected 0 <= dropout < 1")
        for name in ("norm_eps", "init_std", "logit_softcap"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}: expected a number above 0")

    def _validate_scaling(self, scaling: RopeScaling) -> None:
        if self.positions != "rope":
            raise ValueError(
                f"rope_scaling is given but positions is {self.positions!r}: "
                "use positions='rope', or leave rope_scaling out"
            )
        if scaling.kind == "ntk" and self.rope_dim == 2:
            raise ValueError(
                "rope_dim is 2: ntk scaling stretches slow pairs more than fast ones, so needs 4 or more"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Low-rank adapters beside every linear layer (arXiv 2106.09685): W + (alpha / rank) B A.

    Raises:
        ValueError: a rank or scale that cannot work.
    """

    rank: int = 16
    alpha: float = 32.0

    def __post_init__(self) -> None:
        _positive("rank", self.rank)
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}: expected above 0; twice the rank is usual")


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}: expected a whole number of at least 1")
