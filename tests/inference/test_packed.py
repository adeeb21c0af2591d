"""Packed weights: the products of plain ones, for any number of rows; the model is left as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from trueformer.inference.packed import PackedLinear, can_pack, packed
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM

# A product of width 96 in another order of sums, relative to outputs of about 10.
CLOSE = {torch.float32: {"atol": 1e-4, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.15, "rtol": 0.02}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 300), width=st.integers(1, 96), out=st.integers(1, 96), bias=st.booleans())
def test_a_packed_layer_is_the_plain_one(dtype, rows, width, out, bias):
    torch.manual_seed(rows)
    layer = nn.Linear(width, out, bias=bias, dtype=dtype)
    if not can_pack(layer.weight):
        pytest.skip(reason=f"this machine's oneDNN does not multiply {dtype}")
    x = torch.randn(1, rows, width, dtype=dtype)
    with torch.inference_mode():
        found = PackedLinear(layer.weight, layer.bias)(x)
        torch.testing.assert_close(found, layer(x), **CLOSE[dtype])


class RowsSeen(TorchDispatchMode):
    """Notes how many rows each packed product is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.mkldnn._linear_pointwise.default:
            self.rows.add(args[0].shape[:-1].numel())
        return func(*args, **(kwargs or {}))


def test_n11_few_numbers_of_rows_reach_onednn_which_keeps_a_kernel_for_each():
    layer = PackedLinear(torch.randn(8, 8), None)
    with torch.no_grad(), RowsSeen() as seen:
        for n in range(1, 101):
            assert layer(torch.ones(1, n, 8)).shape == (1, n, 8)
    assert seen.rows == {*range(1, 9), *range(16, 105, 8)}


@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_model_is_a_copy_with_the_same_logits(tied):
    torch.manual_seed(0)
    config = DecoderConfig(vocab_size=29, max_len=16, d_model=32, n_layers=2, n_heads=2, tied=tied)
    model = DecoderLM(config).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = packed(model)
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        wanted = model(ids)
        torch.testing.assert_close(fast(ids), wanted, atol=1e-5, rtol=1e-5)
        model.blocks[0].attention.q.weight.mul_(2)
        torch.testing.assert_close(fast(ids), wanted, atol=1e-5, rtol=1e-5)  # a snapshot
        model.blocks[0].attention.q.weight.div_(2)
    assert model.config == config
    assert sum(isinstance(layer, PackedLinear) for layer in fast.modules()) == 2 * 7 + 1
    assert not any(isinstance(layer, PackedLinear) for layer in model.modules())
    torch.testing.assert_close(dict(model.state_dict()), before, atol=0, rtol=0)
    assert fast.embedding.weight.data_ptr() == model.embedding.weight.data_ptr()


def test_what_cannot_be_packed_stays():
    model = DecoderLM(DecoderConfig(vocab_size=29, max_len=16, d_model=32, n_layers=1, n_heads=2)).double()
    assert packed(model) is model
