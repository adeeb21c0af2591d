"""Stacked Muon and AdaMuon against torch's Muon, against the plain twins, and against what they promise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.optim.config import OptimConfig
from trueformer.optim.muon import StackedMuon, orthogonalise
from trueformer.optim.plain import PlainMuon, plain_orthogonalise

SHAPES = st.lists(
    st.tuples(st.sampled_from([1, 3, 8, 16]), st.sampled_from([1, 4, 8, 24])), min_size=1, max_size=6
)
# Signs of a matrix three times as wide as tall are far from singular.
WIDE_OR_TALL = st.lists(
    st.sampled_from([(1, 1), (1, 8), (3, 24), (24, 3), (8, 32), (32, 8)]), min_size=1, max_size=6
)
# Newton-Schulz runs in bf16, 8 bits. Two orders of the same sums differ by a few times 2^-9 of an update.
SAME_ARITHMETIC = 0.03
# Against float32 every product is off by 2^-9, and a singular value's error grows on its way to 1.
AGAINST_FLOAT32 = 0.12


def draw(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def draw_gradients(shapes, seed, step):
    """Far from singular, and so are their sums: an error in a near-zero direction grows 500-fold."""
    gradients = []
    for i, (rows, columns) in enumerate(shapes):
        fixed = torch.Generator().manual_seed(1000 * seed + i)
        U, _, Vh = torch.linalg.svd(torch.randn(rows, columns, generator=fixed), full_matrices=False)
        moving = torch.Generator().manual_seed(1000 * seed + 100 * step + i + 7)
        gradients.append(U @ torch.diag(0.3 + torch.rand(len(Vh), generator=moving)) @ Vh)
    return gradients


def close_updates(before, ours, theirs):
    for p0, p, q in zip(before, ours, theirs, strict=True):
        assert (p - q).norm() <= SAME_ARITHMETIC * (
            q - p0
        ).norm() + 1e-6  # 1e-6: a rounding of weights of size 3


@settings(deadline=None, max_examples=25)
@given(shapes=SHAPES, nesterov=st.booleans(), seed=st.integers(0, 99))
def test_muon_equals_torch_step_by_step(shapes, nesterov, seed):
    ours, lr, decay = draw(shapes, seed), 0.02, 0.1
    theirs = [torch.nn.Parameter(p.clone()) for p in ours]
    reference = torch.optim.Muon(
        theirs,
        lr=lr,
        weight_decay=decay,
        momentum=0.9,
        nesterov=nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    rule = StackedMuon(ours, OptimConfig(name="muon", momentum=0.9, nesterov=nesterov))
    for step in range(4):
        before = [p * (1 - lr * decay) for p in ours]  # what the update proper starts from
        gradients = draw_gradients(shapes, seed, step)
        rule.update(ours, gradients, lr=lr, decay=decay, step=step + 1)
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g.clone()
        reference.step()
        close_updates(before, ours, [p.detach() for p in theirs])
        for p, q, momentum in zip(ours, theirs, rule.slots["momentum"], strict=True):
            torch.testing.assert_close(momentum, reference.state[q]["momentum_buffer"], rtol=1e-6, atol=1e-7)
            q.data.copy_(p)  # each step is compared from the same weights


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_muon_at_a_converted_rate_equals_torch_in_the_original_convention(shape):
    (rows, columns), lr = shape, 0.02
    (ours,) = draw([shape], 0)
    before, theirs = ours.clone(), torch.nn.Parameter(ours.clone())
    (theirs.grad,) = draw_gradients([shape], 0, 0)
    torch.optim.Muon([theirs], lr=lr, weight_decay=0.0, adjust_lr_fn="original").step()
    converted = lr * math.sqrt(max(1, rows / columns)) / (0.2 * math.sqrt(max(rows, columns)))
    StackedMuon([ours], OptimConfig(name="muon")).update(
        [ours], [theirs.grad], lr=converted, decay=0.0, step=1
    )
    close_updates([before], [ours], [theirs.detach()])


@settings(deadline=None, max_examples=25)
@given(shapes=SHAPES, nesterov=st.booleans(), seed=st.integers(0, 99))
def test_stacked_muon_equals_plain_step_by_step(shapes, nesterov, seed):
    config = OptimConfig(name="muon", nesterov=nesterov)
    for before, fast, plain in stacked_and_plain(config, shapes, seed):
        assert (fast - plain).norm() <= AGAINST_FLOAT32 * (plain - before).norm() + 1e-6


@settings(deadline=None, max_examples=25)
@given(shapes=WIDE_OR_TALL, nesterov=st.booleans(), seed=st.integers(0, 99))
def test_stacked_adamuon_equals_plain_step_by_step(shapes, nesterov, seed):
    config = OptimConfig(name="adamuon", nesterov=nesterov)
    for before, fast, plain in stacked_and_plain(config, shapes, seed):
        size = (plain - before).square().mean().sqrt()
        # A direction is divided by its own running size: rounding may turn the few that are almost zero.
        off = (fast - plain).abs() > 2 * AGAINST_FLOAT32 * size + 1e-6
        assert off.float().mean() <= 0.05


def stacked_and_plain(config, shapes, seed):
    """(start, after the fast step, after the plain step) of every matrix at every step, from equal states."""
    lr, decay = 0.02, 0.1
    fast, plain = draw(shapes, seed), draw(shapes, seed)
    rules = StackedMuon(fast, config), PlainMuon(plain, config)
    for step in range(3):
        before = [p * (1 - lr * decay) for p in fast]  # what the update proper starts from
        gradients = draw_gradients(shapes, seed, step)
        for parameters, rule in zip((fast, plain), rules, strict=True):
            rule.update(parameters, gradients, lr=lr, decay=decay, step=step + 1)
        for p, q in zip(rules[0].slots["momentum"], rules[1].slots["momentum"], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)  # float32, two orders of rounding
        yield from zip(before, fast, plain, strict=True)
        for target, source in zip(fast, plain, strict=True):
            target.copy_(source)
        for slot, tensors in rules[0].slots.items():
            for target, source in zip(tensors, rules[1].slots[slot], strict=True):
                target.copy_(source)


@pytest.mark.parametrize("name", ["muon", "adamuon"])
def test_a_stack_gives_each_matrix_what_it_gets_alone(name):
    shapes, config = [(8, 24), (24, 8), (8, 24), (16, 16)], OptimConfig(name=name)
    together, alone = draw(shapes, 0), draw(shapes, 0)
    gradients = draw_gradients(shapes, 0, 0)
    StackedMuon(together, config).update(together, gradients, lr=0.1, decay=0.0, step=1)
    for matrix, gradient in zip(alone, gradients, strict=True):
        StackedMuon([matrix], config).update([matrix], [gradient], lr=0.1, decay=0.0, step=1)
    close_updates(draw(shapes, 0), together, alone)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(2, 24), extra=st.integers(0, 24), seed=st.integers(0, 99))
def test_orthogonalised_singular_values_are_near_one_and_directions_kept(rows, extra, seed):
    generator = torch.Generator().manual_seed(seed)
    U = torch.linalg.qr(torch.randn(rows, rows, generator=generator))[0]
    V = torch.linalg.qr(torch.randn(rows + extra, rows, generator=generator))[0]
    x = U @ torch.diag(torch.linspace(0.2, 1.0, rows)) @ V.T
    for y in (orthogonalise(x[None], 5)[0].float(), plain_orthogonalise(x, 5)):
        in_basis = U.T @ y @ V
        # The quintic sends (0.02, 1) to (0.68, 1.13) in exact arithmetic; bf16 adds some hundredths.
        values = in_basis.diagonal()
        assert values.min() > 0.6
        assert values.max() < 1.25
        assert (in_basis - torch.diag(values)).abs().max() < 0.1


@settings(deadline=None, max_examples=25)
@given(shapes=SHAPES, steps=st.integers(1, 5), seed=st.integers(0, 99))
def test_adamuon_moves_every_matrix_by_exactly_its_rate(shapes, steps, seed):
    matrices = draw(shapes, seed)
    rule = StackedMuon(matrices, OptimConfig(name="adamuon"))
    for step in range(steps):
        before = [p.clone() for p in matrices]
        rule.update(matrices, draw(shapes, 1000 * seed + step), lr=0.5, decay=0.0, step=step + 1)
        for p0, p in zip(before, matrices, strict=True):
            rms = (p - p0).square().mean().sqrt().item()
            assert rms == pytest.approx(0.2 * 0.5, rel=1e-4)  # float32 sums, and weights of size 1 rounded


def test_adamuon_sees_only_the_sign_of_the_momentum():
    (first,), (second,) = draw([(8, 12)], 0), draw([(8, 12)], 0)
    (gradient,), (size,) = draw([(8, 12)], 1), draw([(8, 12)], 2)
    for matrix, g in ((first, gradient), (second, gradient * size.abs())):
        StackedMuon([matrix], OptimConfig(name="adamuon")).update([matrix], [g], lr=0.1, decay=0.0, step=1)
    assert torch.equal(first, second)


def test_adamuon_divides_by_the_root_of_the_running_square_of_the_direction():
    beta, lr = 0.8, 0.1
    config = OptimConfig(name="adamuon", momentum=beta, nesterov=False)
    matrix = torch.zeros(4, 6)
    rule, momentum, square = StackedMuon([matrix], config), torch.zeros(4, 6), torch.zeros(4, 6)
    for step, gradient in enumerate(draw([(4, 6)] * 3, 5)):
        before = matrix.clone()
        rule.update([matrix], [gradient], lr=lr, decay=0.0, step=step + 1)
        momentum = beta * momentum + gradient  # algorithm 1 sums where we average: the sign is the same
        direction = orthogonalise(momentum.sign()[None], 5)[0].float()
        square = beta * square + (1 - beta) * direction.square()
        scaled = direction / (square.sqrt() + 1e-8)
        expected = -lr * 0.2 * math.sqrt(24) / scaled.norm() * scaled
        torch.testing.assert_close(matrix - before, expected, rtol=1e-4, atol=1e-7)
