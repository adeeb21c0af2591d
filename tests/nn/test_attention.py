"""Attention: the fused path against the written-out one, and the laws that the written-out one obeys."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import attend
from trueformer.nn.attention import Attention
from trueformer.nn.masks import attention_mask
from trueformer.nn.plain import plain_attention

BACKENDS = ["fast", "plain"]
# Scores of unit size, sums of at most a few dozen float32 terms, in two orders.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def qkv(B, T, N, K, H, S=None):
    return torch.randn(B, T, N, H), torch.randn(B, S or T, K, H), torch.randn(B, S or T, K, H)


def config(**changes):
    sizes = {"vocab_size": 11, "max_len": 64, "d_model": 32, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2}
    return DecoderConfig(**(sizes | changes))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), B=st.integers(1, 3), T=st.integers(1, 9), K=st.integers(1, 3), G=st.integers(1, 3))
def test_the_fast_path_equals_the_plain_one(data, B, T, K, G):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    H = data.draw(st.sampled_from([2, 5, 8]))
    length = data.draw(st.integers(0, 5))
    q, k, v = qkv(B, T, G * K, K, H, S=length + T)
    sinks = torch.randn(G * K) if data.draw(st.booleans()) else None
    mask = None
    if (length and T > 1) or data.draw(st.booleans()):
        mask = attention_mask(
            torch.arange(length, length + T),
            length + T,
            window=data.draw(st.none() | st.integers(1, 6)),
            start_B=torch.randint(0, length + T, (B,)) if data.draw(st.booleans()) else None,
        )
    leaves = [x.requires_grad_() for x in (q, k, v) + (() if sinks is None else (sinks,))]
    results = []
    for backend in BACKENDS:
        y = attend(q, k, v, mask, scale=H**-0.5, sinks_N=sinks, backend=backend)
        results.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_k1_scores_are_divided_by_root_d(backend):
    H = 64
    attention = Attention(config(d_model=H, n_heads=1, n_kv_heads=1, qk_norm=False), 0, backend=backend)
    with torch.no_grad():
        for layer in (attention.q, attention.k, attention.v, attention.out):
            layer.weight.copy_(torch.eye(H))
    x = torch.randn(1, 2, H)
    y = attention(x, rotation=None, mask=None)
    score_S = x[0] @ x[0, 1] / math.sqrt(H)
    torch.testing.assert_close(y[0, 1], torch.softmax(score_S, 0) @ x[0], **TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_k2_weights_sum_to_one_over_keys_and_the_future_has_no_part_in_them(backend):
    q, k, _ = qkv(2, 7, 4, 2, 8)
    ones = torch.ones(2, 7, 2, 8)
    torch.testing.assert_close(attend(q, k, ones, None, scale=0.5, backend=backend), torch.ones_like(q))
    v = torch.randn(2, 7, 2, 8)
    before = attend(q, k, v, None, scale=0.5, backend=backend)
    q[:, 5:], k[:, 5:], v[:, 5:] = 9.0, -9.0, 99.0
    after = attend(q, k, v, None, scale=0.5, backend=backend)
    assert torch.equal(before[:, :5], after[:, :5])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("T", [1, 6])
def test_n10_query_head_n_reads_key_head_n_over_group(backend, T):
    N, K, S = 6, 2, 6
    q, k, v = qkv(2, T, N, K, 4, S=S)
    y = attend(q, k, v, None, scale=0.5, backend=backend)
    for n in range(N):
        shared = slice(n // 3, n // 3 + 1)
        alone = attend(q[:, :, n : n + 1], k[:, :, shared], v[:, :, shared], None, scale=0.5)
        torch.testing.assert_close(y[:, :, n : n + 1], alone, **TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a13a_attention_dropout_is_off_in_evaluation_and_on_in_training(backend):
    attention = Attention(config(dropout=0.5), 0, backend=backend)
    still = Attention(config(), 0, backend=backend)
    still.load_state_dict(attention.state_dict())
    x = torch.randn(2, 8, 32)

    def run(layer):
        return layer(x, rotation=None, mask=None)

    attention.eval()
    assert torch.equal(run(attention), run(still))
    attention.train()
    assert not torch.allclose(run(attention), run(attention))


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_keeps_the_mean(backend):
    torch.manual_seed(0)
    q, k, v = qkv(1, 4, 1, 1, 4)
    runs = [attend(q, k, v, None, scale=0.5, dropout=0.3, backend=backend) for _ in range(1500)]
    expected = attend(q, k, v, None, scale=0.5)
    # Weights of at most 1 scaled by 1/0.7 or 0: a standard error of 0.65 |v| / sqrt(1500), four of them.
    assert (torch.stack(runs).mean(0) - expected).abs().max() < 0.07 * v.abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("T", [1, 5])
def test_a_sink_takes_its_share_of_the_denominator_and_gives_nothing(backend, T):
    q, k, v = qkv(2, T, 4, 2, 8, S=5)
    sinks = torch.tensor([-30.0, 0.0, 1.0, 30.0])
    y = attend(q, k, v, None, scale=0.3, sinks_N=sinks, backend=backend)
    for n in range(4):
        scores = torch.einsum("bth,bsh->bts", q[:, :, n], k[:, :, n // 2]) * 0.3
        seen = torch.ones(T, 5, dtype=torch.bool).tril(5 - T)
        weight = scores.exp() * seen
        weight = weight / (weight.sum(-1, keepdim=True) + sinks[n].exp())
        torch.testing.assert_close(y[:, :, n], weight @ v[:, :, n // 2], **TOLERANCE)


def test_sinks_are_off_by_default_and_learned_when_on():
    assert Attention(config(), 0).sinks is None
    attention = Attention(config(attention_sinks=True), 0)
    attention(torch.randn(1, 4, 32), rotation=None, mask=None).sum().backward()
    assert attention.sinks is not None
    assert attention.sinks.grad is not None
    assert (attention.sinks.grad != 0).all()


def test_qk_norm_acts_on_each_head_before_scores():
    attention = Attention(config(attention_bias=True), 0)
    x = torch.randn(1, 5, 32)
    y = attention(x, rotation=None, mask=None)
    with torch.no_grad():
        # A norm hides the size of what it is given, head by head.
        attention.q.weight[:8] *= 7.0
        attention.q.bias[:8] *= 7.0  # type: ignore[index]
        attention.k.weight[8:] *= 0.5
        attention.k.bias[8:] *= 0.5  # type: ignore[index]
    torch.testing.assert_close(attention(x, rotation=None, mask=None), y, **TOLERANCE)


def test_the_plain_path_averages_uniform_keys():
    q, v = torch.zeros(1, 3, 1, 2), torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]], [[5.0, 6.0]]]])
    y = plain_attention(q, v, v, None, scale=1.0)
    torch.testing.assert_close(y[0, :, 0], torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 2.0]]))


def test_unequal_lengths_without_a_mask_are_our_own_mistake():
    q, k, v = qkv(1, 2, 1, 1, 4, S=5)
    with pytest.raises(AssertionError):
        attend(q, k, v, None, scale=1.0)
