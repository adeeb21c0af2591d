"""Tiny models of several kinds, with weights large enough that every token has its own opinion."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM

VOCAB = 31


def make_model(seed: int = 0, **changes: Any) -> DecoderLM:
    """Two layers, 16 wide, in evaluation mode; `changes` go to the configuration."""
    sizes = {"vocab_size": VOCAB, "max_len": 24, "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
    torch.manual_seed(seed)
    # 0.4, not 0.02: at the usual scale so small a model says nearly the same after every prompt.
    return DecoderLM(DecoderConfig(**{**sizes, "init_std": 0.4, **changes})).eval()


@pytest.fixture(scope="session")
def tiny() -> DecoderLM:
    return make_model()


@pytest.fixture(scope="session")
def build() -> Callable[..., DecoderLM]:
    return make_model
