"""The loss against the plain twin and torch's, value and gradient, in every option; what it must never do."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from trueformer.nn.plain import plain_cross_entropy
from trueformer.training import loss as loss_module
from trueformer.training.loss import IGNORE, token_loss, token_nats


def draw(T=13, D=6, V=9, ignored=0.25, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    hidden = (scale * torch.randn(T, D, generator=generator)).requires_grad_()
    head = torch.randn(V, D, generator=generator).requires_grad_()
    targets = torch.randint(V, (T,), generator=generator)
    targets[torch.rand(T, generator=generator) < ignored] = IGNORE
    return hidden, head, targets


def plain(hidden, head, targets, *, softcap=None, **terms):
    logits = hidden @ head.T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return plain_cross_entropy(logits, targets, **terms)


@st.composite
def cases(draw_from):
    sizes = {
        "T": draw_from(st.integers(1, 20)),
        "D": draw_from(st.integers(1, 8)),
        "V": draw_from(st.integers(1, 30)),
        "ignored": draw_from(st.sampled_from([0.0, 0.3, 1.0])),
        "seed": draw_from(st.integers(0, 99)),
    }
    terms = {
        "softcap": draw_from(st.sampled_from([None, 2.0])),
        "z_loss": draw_from(st.sampled_from([0.0, 0.1])),
        "label_smoothing": draw_from(st.sampled_from([0.0, 0.2])),
    }
    return sizes, terms, draw_from(st.integers(1, 25))


@settings(deadline=None, max_examples=150)
@given(cases())
def test_loss_and_gradients_equal_the_plain_twin_for_every_chunk(case):
    sizes, terms, chunk = case
    hidden, head, targets = draw(**sizes)
    ours = token_loss(hidden, head, targets, chunk=chunk, **terms)
    theirs = plain(hidden, head, targets, **terms)
    # float32 throughout: sums over at most 20 targets of 30 logits, added in another order.
    torch.testing.assert_close(ours.total, theirs, rtol=1e-5, atol=1e-5)
    assert ours.n_tokens == (targets != IGNORE).sum()
    upstream = 0.37  # what dividing by a count sends back
    got = torch.autograd.grad(upstream * ours.total, (hidden, head))
    wanted = torch.autograd.grad(upstream * theirs, (hidden, head))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(1, 40), st.integers(1, 9))
def test_the_sizes_of_blocks_change_nothing(case, cached_logits, head_rows):
    sizes, terms, chunk = case
    hidden, head, targets = draw(**sizes)
    whole = token_loss(hidden, head, targets, **terms).total
    with pytest.MonkeyPatch.context() as patch:  # so that a few tokens make many blocks
        patch.setattr(loss_module, "CACHED_LOGITS", cached_logits)
        patch.setattr(loss_module, "HEAD_ROWS", head_rows)
        blocks = token_loss(hidden, head, targets, chunk=chunk, **terms).total
        nats = token_nats(hidden, head, targets, chunk=chunk, softcap=terms["softcap"])
    torch.testing.assert_close(nats, token_nats(hidden, head, targets, softcap=terms["softcap"]))
    torch.testing.assert_close(blocks, whole, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(blocks, (hidden, head))
    wanted = torch.autograd.grad(whole, (hidden, head))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_loss_equals_torch_cross_entropy(case):
    sizes, terms, chunk = case
    hidden, head, targets = draw(**sizes)
    expected = F.cross_entropy(
        hidden @ head.T, targets, reduction="sum", label_smoothing=terms["label_smoothing"]
    )
    ours = token_loss(hidden, head, targets, chunk=chunk, label_smoothing=terms["label_smoothing"])
    torch.testing.assert_close(ours.total, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_nats_of_each_token_add_up_to_the_loss(case):
    sizes, terms, chunk = case
    hidden, head, targets = draw(**sizes)
    nats = token_nats(hidden, head, targets, softcap=terms["softcap"], chunk=chunk)
    assert not nats.requires_grad
    assert nats.dtype == torch.float32
    assert not nats[targets == IGNORE].any()
    total = token_loss(hidden, head, targets, softcap=terms["softcap"]).total
    torch.testing.assert_close(nats.sum(), total, rtol=1e-5, atol=1e-5)


def test_axes_before_the_last_are_kept():
    hidden, head, targets = draw(T=12)
    shaped = token_loss(hidden.view(3, 4, 6), head, targets.view(3, 4))
    assert torch.equal(shaped.total, token_loss(hidden, head, targets).total)
    nats = token_nats(hidden.view(3, 4, 6), head, targets.view(3, 4), chunk=5)
    assert torch.equal(nats.flatten(), token_nats(hidden, head, targets, chunk=5))


@pytest.mark.parametrize("chunk", [3, 100])
def test_t5_padding_is_neither_loss_nor_gradient(chunk):
    hidden, head, targets = draw(ignored=0.5, seed=3)
    live = targets != IGNORE
    padded = token_loss(hidden, head, targets, chunk=chunk)
    alone = token_loss(hidden[live], head, targets[live], chunk=chunk)
    torch.testing.assert_close(padded.total, alone.total)
    assert padded.n_tokens == alone.n_tokens == live.sum()
    grad_hidden, grad_head = torch.autograd.grad(padded.total, (hidden, head))
    assert not grad_hidden[~live].any()
    assert grad_hidden[live].abs().sum(-1).all()
    torch.testing.assert_close(grad_head, torch.autograd.grad(alone.total, head)[0])


@pytest.mark.parametrize("chunk", [3, 100])
def test_t5_all_padding_is_zero_loss_and_zero_gradient(chunk):
    hidden, head, targets = draw(ignored=1.1)
    loss = token_loss(hidden, head, targets, chunk=chunk, z_loss=0.1)
    assert loss.total == 0
    assert loss.n_tokens == 0
    assert not any(g.any() for g in torch.autograd.grad(loss.total, (hidden, head)))


@pytest.mark.parametrize("chunk", [3, 100])
def test_k7_loss_is_minus_log_p(chunk):
    hidden, head, targets = draw(ignored=0.0)
    uniform = token_loss(torch.zeros_like(hidden), head, targets, chunk=chunk)
    assert uniform.total.item() == pytest.approx(13 * math.log(9), rel=1e-6)
    assert token_loss(hidden, head, targets, chunk=chunk).total > 0
    loss = token_loss(hidden, head, targets, chunk=chunk).total
    (grad,) = torch.autograd.grad(loss, hidden)
    stepped = token_loss(hidden - 1e-2 * grad, head, targets, chunk=chunk)
    p = torch.softmax(hidden @ head.T, -1).gather(1, targets[:, None])
    p_stepped = torch.softmax((hidden - 1e-2 * grad) @ head.T, -1).gather(1, targets[:, None])
    assert stepped.total < loss
    assert (p_stepped > p).all()  # less loss is more probability, for every token


@pytest.mark.parametrize("chunk", [3, 100])
def test_n3_position_t_is_scored_against_target_t_with_no_shift_of_its_own(chunk):
    eye = 50 * torch.eye(8)
    ids = torch.tensor([3, 1, 4, 1, 5, 2, 6, 5])
    assert token_loss(eye[ids], torch.eye(8), ids, chunk=chunk).total < 1e-6
    assert token_loss(eye[ids[:-1]], torch.eye(8), ids[1:], chunk=chunk).total > 100


@pytest.mark.parametrize("chunk", [3, 100])
def test_n4_accumulated_sums_over_the_step_s_count_give_the_full_batch_gradient(chunk):
    hidden, head, targets = draw(T=24, ignored=0.0)
    targets[:7] = IGNORE  # micro-batches of 1, 8 and 8 targets
    full = token_loss(hidden, head, targets, chunk=chunk)
    (wanted,) = torch.autograd.grad(full.total / full.n_tokens, head)

    def micro_batches():
        slices = [slice(i, i + 8) for i in (0, 8, 16)]
        return [token_loss(hidden[part], head, targets[part], chunk=chunk) for part in slices]

    parts = micro_batches()
    count = sum(part.n_tokens for part in parts)
    assert [int(part.n_tokens) for part in parts] == [1, 8, 8]
    accumulated = sum(torch.autograd.grad(part.total / count, head)[0] for part in parts)
    torch.testing.assert_close(accumulated, wanted, rtol=1e-5, atol=1e-6)
    parts = micro_batches()
    undivided = sum(torch.autograd.grad(part.total / part.n_tokens, head)[0] for part in parts)
    by_steps = undivided / 3  # the mean of means: one target of the first part weighs as much as eight
    for wrong in (undivided, by_steps):
        assert (wrong - wanted).norm() > 0.1 * wanted.norm()


class LargestTensor(TorchDispatchMode):
    """The most elements that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_logits_of_all_tokens_never_exist_forward_or_backward():
    T, D, V, chunk = 64, 4, 50, 8
    hidden, head, targets = draw(T=T, D=D, V=V, ignored=0.1)
    with LargestTensor() as largest:
        loss = token_loss(hidden, head, targets, chunk=chunk, z_loss=0.1, label_smoothing=0.1, softcap=5.0)
        loss.total.backward()
        token_nats(hidden, head, targets, chunk=chunk)
    assert largest.numel == chunk * V
    with LargestTensor() as largest:  # the probe can see them
        plain(hidden, head, targets)
    assert largest.numel >= 0.5 * T * V


@pytest.mark.parametrize("chunk", [5, 100])
@pytest.mark.parametrize("how", ["autocast", "bf16 parameters"])
def test_in_bf16_only_the_products_are_rounded(chunk, how):
    hidden, head, targets = draw(T=20, D=16, V=40, seed=1)
    if how == "autocast":
        x, w = hidden, head
        with torch.autocast("cpu", torch.bfloat16):
            loss = token_loss(x, w, targets, chunk=chunk).total
    else:
        x, w = (t.detach().bfloat16().requires_grad_() for t in (hidden, head))
        loss = token_loss(x, w, targets, chunk=chunk).total
    assert loss.dtype == torch.float32
    exact = plain(hidden, head, targets)
    wanted = torch.autograd.grad(exact, (hidden, head))
    # Inputs, logits and their gradients are rounded to 8 bits, 2^-9 each: about 1 % of a gradient's size.
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    for tensor, got, expected in zip((x, w), torch.autograd.grad(loss, (x, w)), wanted, strict=True):
        assert got.dtype == tensor.dtype
        assert (got.float() - expected).norm() < 0.02 * expected.norm()


def test_the_head_s_gradient_is_summed_in_float32():
    T = 4096
    hidden = torch.ones(T, 1, dtype=torch.bfloat16)
    head = torch.zeros(2, 1, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        token_loss(hidden, head, torch.zeros(T, dtype=torch.int64), chunk=1).total.backward()
    # 4096 times 0.5; added one by one in bf16 the sum would stall at 128.
    assert head.grad.flatten().tolist() == [-T / 2, T / 2]


@pytest.mark.parametrize("chunk", [3, 100])
def test_a_tied_head_collects_both_gradients(chunk):
    ids = torch.randint(9, (13,))
    head = draw()[1]
    table = head.detach().clone().requires_grad_()
    token_loss(F.embedding(ids, head).tanh(), head, ids.roll(-1), chunk=chunk).total.backward()
    plain(F.embedding(ids, table).tanh(), table, ids.roll(-1)).backward()
    torch.testing.assert_close(head.grad, table.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", ["hidden", "head"])
def test_a_frozen_side_gets_no_gradient(frozen):
    hidden, head, targets = draw()
    {"hidden": hidden, "head": head}[frozen].requires_grad_(False)
    free = head if frozen == "hidden" else hidden
    loss = token_loss(hidden, head, targets, chunk=3).total
    torch.testing.assert_close(
        torch.autograd.grad(loss, free)[0],
        torch.autograd.grad(plain(hidden, head, targets), free)[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_second_backward_through_slices_is_refused_and_not_wrong():
    hidden, head, targets = draw()
    loss = token_loss(hidden, head, targets, chunk=3).total
    loss.backward(torch.tensor(0.5), retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward(torch.tensor(0.5))


def test_huge_logits_stay_finite():
    hidden, head, targets = draw(scale=1e4)
    for chunk in (3, 100):
        loss = token_loss(hidden, head, targets, chunk=chunk).total
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (hidden, head)))


def test_targets_of_another_type_are_refused():
    hidden, head, targets = draw()
    for function in (token_loss, token_nats):
        with pytest.raises(ValueError, match=r"targets are torch\.int32: expected torch\.int64"):
            function(hidden, head, targets.int())


@pytest.mark.parametrize("chunk", [3, 100])
def test_a_compiler_takes_either_path_whole(chunk):
    hidden, head, targets = draw()

    def loss(hidden, head):
        return token_loss(hidden, head, targets, chunk=chunk, softcap=3.0, z_loss=0.1).total

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    wanted, got = loss(hidden, head), compiled(hidden, head)
    torch.testing.assert_close(got, wanted)
    for a, b in zip(
        torch.autograd.grad(got, (hidden, head)), torch.autograd.grad(wanted, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_the_sliced_operation_is_registered_soundly():
    hidden, head, targets = draw()
    for softcap, want_x, want_head in ((None, True, True), (2.0, True, False), (2.0, False, True)):
        arguments = (hidden.detach(), head.detach(), targets, torch.float32, 4, IGNORE, softcap, 0.1, 0.1)
        torch.library.opcheck(
            torch.ops.trueformer.loss_and_gradients.default,
            (*arguments, want_x, want_head),
            test_utils=("test_schema", "test_faketensor"),
        )
