"""Attention by chunks of matrix products against the written-out attention, and when it is used."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.nn import attend as attend_module
from trueformer.nn import dropout
from trueformer.nn.attend import attend
from trueformer.nn.masks import attention_mask
from trueformer.nn.plain import plain_attention
from trueformer.nn.short import CHUNK, LONGEST, short_attention, suits_short


@settings(deadline=None, max_examples=25)
@given(
    B=st.integers(1, 2),
    T=st.integers(2, 9) | st.integers(CHUNK - 1, CHUNK + 1) | st.just(2 * CHUNK + 7),
    K=st.integers(1, 2),
    G=st.integers(1, 3),
    window=st.none() | st.integers(1, CHUNK + 5),
    seed=st.integers(0, 99),
)
def test_chunks_equal_the_plain_path(B, T, K, G, window, seed):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(B, T, n, 4, requires_grad=True) for n in (G * K, K, K))
    mask = None if window is None else attention_mask(torch.arange(T), T, window=window)
    plain = plain_attention(q, k, v, mask, scale=0.5)
    short = short_attention(*(x.transpose(1, 2) for x in (q, k, v)), mask, scale=0.5).transpose(1, 2)
    towards = torch.randn_like(plain)
    for ours, theirs in zip(
        [short, *torch.autograd.grad(short, (q, k, v), towards)],
        [plain, *torch.autograd.grad(plain, (q, k, v), towards)],
        strict=True,
    ):
        # float32 sums of up to 263 terms in two orders.
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-5)


def test_it_is_used_to_train_short_texts_in_bf16_on_a_cpu():
    def suits(T=8, S=None, dtype=torch.bfloat16, grad=True):
        x, y = torch.zeros(1, 2, T, 4, dtype=dtype), torch.zeros(1, 2, S or T, 4, dtype=dtype)
        return suits_short(x.requires_grad_(grad), y)

    assert suits()
    assert suits(T=LONGEST)
    assert not suits(T=LONGEST + 1)
    assert not suits(T=1)
    assert not suits(S=9)
    assert not suits(dtype=torch.float32)
    assert not suits(grad=False)
    with torch.no_grad():
        assert not suits()


@pytest.mark.parametrize("window", [None, 5])
def test_training_in_bf16_is_as_near_to_float32_as_the_fused_kernel(window, monkeypatch):
    torch.manual_seed(0)
    T = 160
    exact = [torch.randn(2, T, n, 16).bfloat16().float().requires_grad_() for n in (4, 2, 2)]
    mask = None if window is None else attention_mask(torch.arange(T), T, window=window)
    towards = torch.randn(2, T, 4, 16)

    def run(tensors):
        y = attend(*tensors, mask, scale=0.25)
        return [y, *torch.autograd.grad(y, tensors, towards.to(y.dtype))]

    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    expected, short = run(exact), run(rounded)
    monkeypatch.setattr(attend_module, "suits_short", lambda q, k: False)
    fused = run(rounded)
    for true, ours, theirs in zip(expected, short, fused, strict=True):
        errors = [(x.float() - true).square().mean().sqrt().item() for x in (ours, theirs)]
        # One rounding more, of scores of order 1.
        assert errors[0] < 3 * errors[1], errors


def test_dropout_acts_on_the_weights():
    torch.manual_seed(0)
    q = torch.zeros(1, 1, 300, 1)
    v = torch.ones(1, 1, 300, 1)
    y = short_attention(q, q, v, None, scale=1.0, dropout=0.5)
    assert y[0, 0, 1:20].std() > 0.1
    assert y.mean().item() == pytest.approx(1.0, abs=0.15)


def test_dropped_weights_get_no_gradient():
    q, k, v, towards = torch.randn(4, 2, 3, 7, 4).unbind()
    torch.manual_seed(1)
    ours = [x.clone().requires_grad_() for x in (q, k, v)]
    y = short_attention(*ours, None, scale=0.5, dropout=0.4)
    y.backward(towards)
    torch.manual_seed(1)
    keep = dropout.keep((6, 7, 7), 0.4, torch.float32).view(2, 3, 7, 7)
    theirs = [x.clone().requires_grad_() for x in (q, k, v)]
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    scores = (theirs[0] @ theirs[1].mT * 0.5).masked_fill(hidden, float("-inf"))
    expected = (scores.softmax(-1) * keep) @ theirs[2]
    expected.backward(towards)
    torch.testing.assert_close(y, expected)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
