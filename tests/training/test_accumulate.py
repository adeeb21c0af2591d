"""Shapes: B batch, T query length, D d_model, V vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.loader import IGNORE, Batch
from trueformer.training.accumulate import accumulate, micro_batching, target_tokens
from trueformer.training.config import LoopConfig
from trueformer.training.distributed import World
from trueformer.training.objective import Objective


def batch_of(inputs_BT, targets_BT):
    return Batch(inputs_BT, targets_BT, None)


def objective_and_loss(config):
    from trueformer.training.run import build_model

    torch.manual_seed(0)
    objective = Objective(build_model(config.model, config.loop), config.loop)
    return objective, lambda b: objective(b.inputs_BT, b.targets_BT, b.document_BT)


def gradients(objective):
    return {name: p.grad.clone() for name, p in objective.named_parameters()}


@given(
    rows=st.sampled_from([2, 4, 6]),
    pieces=st.integers(1, 2),
    kept=st.lists(st.integers(0, 8), min_size=6, max_size=6),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=25)
def test_n4_t18_micro_batches_of_unequal_target_counts_equal_one_big_batch(
    tiny_config, rows, pieces, kept, seed
):
    """Rows keep 0 to 8 targets each. Tolerance: float32 sums in another order, gradients of order 1."""
    config = tiny_config()
    V, T = config.model.vocab_size, 8
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, V, (rows, T + 1), generator=rng)
    targets = ids[:, 1:].clone()
    for row, n in zip(targets, kept, strict=False):
        row[n:] = IGNORE
    targets[0, 0] = 1  # at least one target in all
    big = batch_of(ids[:, :-1].contiguous(), targets)
    size = rows // pieces
    micro = [batch_of(big.inputs_BT[i : i + size], targets[i : i + size]) for i in range(0, rows, size)]
    results = []
    for batches in ([big], micro):
        objective, loss_sum = objective_and_loss(config)
        share = accumulate(loss_sum, objective, batches, target_tokens(batches), World())
        results.append((share, gradients(objective)))
    (one, one_grad), (many, many_grad) = results
    torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-6)
    for name, grad in one_grad.items():
        torch.testing.assert_close(many_grad[name], grad, rtol=1e-4, atol=1e-5)


def test_n4_the_mean_of_micro_means_is_something_else(tiny_config):
    """What the property above would miss if it could not fail: unequal counts do tell the two apart."""
    config = tiny_config()
    objective, loss_sum = objective_and_loss(config)
    ids = torch.randint(0, config.model.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    targets[0, 1:] = IGNORE
    micro = [batch_of(ids[i : i + 1, :-1], targets[i : i + 1]) for i in range(2)]
    share = accumulate(loss_sum, objective, micro, target_tokens(micro), World())
    means = sum(loss_sum(b) / target_tokens([b]) for b in micro) / 2
    assert abs(share - means).item() > 1e-3


def test_a_batch_without_targets_is_refused(tiny_config):
    objective, loss_sum = objective_and_loss(tiny_config())
    empty = batch_of(torch.zeros(1, 4, dtype=torch.int64), torch.full((1, 4), IGNORE))
    with pytest.raises(ValueError, match="holds no target token"):
        accumulate(loss_sum, objective, [empty], target_tokens([empty]), World())


@pytest.mark.parametrize(
    ("batch_size", "micro", "processes", "expected"),
    [(8, None, 1, (8, 1)), (8, 2, 1, (2, 4)), (8, None, 2, (4, 1)), (8, 2, 2, (2, 2)), (3, None, 3, (1, 1))],
)
def test_rows_are_shared_out_evenly(batch_size, micro, processes, expected):
    config = LoopConfig(batch_size=batch_size, micro_batch_size=micro)
    assert micro_batching(config, World(size=processes)) == expected


@pytest.mark.parametrize(("batch_size", "micro", "processes"), [(8, None, 3), (8, 8, 2), (4, 4, 8)])
def test_rows_that_cannot_be_shared_evenly_are_refused(batch_size, micro, processes):
    with pytest.raises(
        ValueError, match=f"batch_size is {batch_size}: expected a multiple of {processes} processes"
    ):
        micro_batching(LoopConfig(batch_size=batch_size, micro_batch_size=micro), World(size=processes))
