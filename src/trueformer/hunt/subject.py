"""A whole small run of our own as a subject of the laws."""

from typing import Any

from trueformer.as_subject import of_config
from trueformer.hunt.experiments.small import small_run

KINDS: tuple[dict[str, Any], ...] = (
    {"document_mask": True},
    {
        "optimizer": "muon",
        "tokenizer": "bpe",
        "positions": "learned",
        "norm": "layernorm",
        "feed_forward": "gelu",
        "qk_norm": False,
        "n_kv_heads": 4,
        "dropout": 0.1,
        "tied": False,
        "attention_bias": True,
        "feed_forward_bias": True,
    },
    {
        "backend": "fast",
        "optimizer": "muon",
        "window": 6,
        "qk_norm": False,
        "rope_layout": "interleaved",
        "loop": {"precision": "bf16", "parameters": "bf16"},
        "optim": {"lr_vectors": 1e-3},  # next to a norm's 1, less than bf16 can show
    },
    {
        "optimizer": "adamuon",
        "positions": "sinusoidal",
        "norm_placement": "post",
        "attention_sinks": True,
        "logit_softcap": 5.0,
        "conversations": True,
    },
)


def stack(**kind: Any) -> dict[str, Any]:
    """Arguments for `check`: the run that `small_run` makes of the same words."""
    return of_config(*small_run(**kind))
