"""Blocks: both residuals, both placements of the norm."""

import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.nn.blocks import Block


def make(**changes):
    sizes = {"vocab_size": 5, "max_len": 8, "d_model": 16, "n_layers": 1, "n_heads": 2}
    return Block(DecoderConfig(**(sizes | changes)), 0)


def run(block, x):
    return block(x, rotation=None, mask=None)


@pytest.mark.parametrize("silent", ["attention.out", "feed_forward.down", "both"])
def test_k6_each_layer_is_added_to_the_residual_stream(silent):
    block, x = make(), torch.randn(2, 4, 16)
    for name in ("attention.out", "feed_forward.down"):
        if silent in (name, "both"):
            torch.nn.init.zeros_(block.get_submodule(name).weight)
    attention = block.attention(block.attention_norm(x), rotation=None, mask=None)
    middle = x + attention
    expected = middle + block.feed_forward(block.feed_forward_norm(middle))
    torch.testing.assert_close(run(block, x), expected)
    if silent == "both":
        assert torch.equal(run(block, x), x)


def test_a_post_norm_block_norms_the_sums():
    block, x = make(norm_placement="post", norm="layernorm"), torch.randn(2, 4, 16)
    middle = block.attention_norm(x + block.attention(x, rotation=None, mask=None))
    expected = block.feed_forward_norm(middle + block.feed_forward(middle))
    torch.testing.assert_close(run(block, x), expected)
    torch.testing.assert_close(run(block, x).mean(-1), torch.zeros(2, 4), rtol=0, atol=1e-6)


def test_dropout_acts_in_training_only():
    block, x = make(dropout=0.5), torch.randn(2, 4, 16)
    assert not torch.equal(run(block, x), run(block, x))
    block.eval()
    assert torch.equal(run(block, x), run(block, x))
