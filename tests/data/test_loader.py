"""Order, coverage and resumption of batches, against slow twins over small rings of tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.loader import IGNORE, TrainLoader, validation_batches
from trueformer.data.token_set import TokenSet

BOS = 0


def numbered(n: int, cuts: tuple[int, ...] = ()) -> TokenSet:
    """Tokens 0 … n - 1, each its own position, over shards cut at `cuts`."""
    return TokenSet(np.split(np.arange(n, dtype=np.uint16), list(cuts)), bos_id=BOS, n_documents=1, n_bytes=n)


def take(loader, n):
    return [next(loader) for _ in range(n)]


def rows(batches):
    return torch.cat([b.inputs_BT for b in batches]).tolist()


@settings(deadline=None, max_examples=100)
@given(data=st.data(), n=st.integers(1, 60))
def test_a_window_over_shards_is_a_slice_of_the_ring(data, n):
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    start, length = data.draw(st.integers(0, 2 * n)), data.draw(st.integers(0, 3 * n))
    window = numbered(n, tuple(cuts)).window(start, length)
    assert window.dtype == np.int64
    assert window.tolist() == [(start + i) % n for i in range(length)]


def test_n3_targets_are_the_inputs_one_step_later():
    loader = TrainLoader(numbered(100), batch_size=3, seq_len=7, seed=1)
    for batch in [*take(loader, 20), *validation_batches(numbered(100), batch_size=3, seq_len=7)]:
        real = batch.targets_BT != IGNORE
        assert torch.equal(((batch.inputs_BT + 1) % 100)[real], batch.targets_BT[real])
        assert not torch.equal(batch.inputs_BT, batch.targets_BT)


def test_a2_n2_batches_are_tensors_of_int64():
    loader = TrainLoader(numbered(100), batch_size=3, seq_len=7, seed=1, document_mask=True)
    for batch in (next(loader), next(validation_batches(numbered(100), batch_size=3, seq_len=7))):
        assert batch.inputs_BT.shape == batch.targets_BT.shape == (3, 7)
        assert batch.inputs_BT.dtype == batch.targets_BT.dtype == torch.int64
        assert batch.inputs_BT.is_contiguous()
        assert batch.targets_BT.is_contiguous()


@settings(deadline=None, max_examples=60)
@given(n=st.integers(9, 200), seq_len=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_an_epoch_uses_every_row_once_and_all_but_a_remainder_of_the_tokens(n, seq_len, seed):
    loader = TrainLoader(numbered(n), batch_size=1, seq_len=seq_len, seed=seed)
    for epoch in range(3):
        assert loader.epoch == epoch
        seen = [token for row in rows(take(loader, loader.n_rows)) for token in row]
        assert len(seen) == len(set(seen)) == n // seq_len * seq_len


def test_every_token_is_trained_on_although_rows_do_not_divide_the_tokens():
    loader = TrainLoader(numbered(103), batch_size=1, seq_len=10, seed=0)
    seen = {token for row in rows(take(loader, 6 * loader.n_rows)) for token in row}
    assert seen == set(range(103))


def test_batches_across_the_end_of_an_epoch_skip_and_repeat_no_row():
    loader = TrainLoader(numbered(40), batch_size=3, seq_len=4, seed=0)  # 10 rows an epoch
    starts = [row[0] for row in rows(take(loader, 10))]
    for epoch in (starts[:10], starts[10:20], starts[20:]):
        assert sorted((start - epoch[0]) % 40 for start in epoch) == list(range(0, 40, 4))
    assert loader.state_dict() == {"seed": 0, "epoch": 3, "cursor": 0}


def test_epochs_differ_in_order_and_in_where_rows_begin():
    loader = TrainLoader(numbered(1000), batch_size=10, seq_len=10, seed=0)
    first, second = rows(take(loader, 10)), rows(take(loader, 10))
    assert {row[0] % 10 for row in first} != {row[0] % 10 for row in second}
    assert [row[0] // 10 for row in first] != [row[0] // 10 for row in second]
    assert sorted(row[0] for row in first) != [row[0] for row in first]


def test_the_order_is_a_function_of_the_seed_alone():
    first, again, other = (
        TrainLoader(numbered(200), batch_size=4, seq_len=5, seed=seed) for seed in (1, 1, 2)
    )
    expected = rows(take(first, 30))
    torch.manual_seed(5)
    np.random.seed(5)
    assert rows(take(again, 30)) == expected
    assert rows(take(other, 30)) != expected


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_resuming_anywhere_gives_the_batches_that_would_have_come(data):
    n, seq_len = data.draw(st.integers(40, 120)), data.draw(st.integers(1, 6))
    batch_size = data.draw(st.integers(1, 4))
    options = {"batch_size": batch_size, "seq_len": seq_len}
    loader = TrainLoader(numbered(n), seed=data.draw(st.integers(0, 9)), **options)
    take(loader, data.draw(st.integers(0, 80)))
    state = loader.state_dict()
    assert set(state) == {"seed", "epoch", "cursor"}
    assert all(type(v) is int for v in state.values())
    resumed = TrainLoader(numbered(n), seed=77, **options)
    take(resumed, data.draw(st.integers(0, 3)))
    resumed.load_state_dict(state)
    assert rows(take(resumed, 40)) == rows(take(loader, 40))
    assert resumed.state_dict() == loader.state_dict()


@settings(deadline=None, max_examples=60)
@given(world=st.integers(1, 4), batch_size=st.integers(1, 3), n=st.integers(90, 200))
def test_ranks_share_the_rows_of_one_process(world, batch_size, n):
    one = TrainLoader(numbered(n), batch_size=batch_size * world, seq_len=7, seed=3)
    many = [
        TrainLoader(numbered(n), batch_size=batch_size, seq_len=7, seed=3, rank=rank, world_size=world)
        for rank in range(world)
    ]
    for _ in range(25):
        parts = [next(loader).inputs_BT for loader in many]
        assert torch.equal(torch.cat(parts), next(one).inputs_BT)
        assert all(loader.state_dict() == one.state_dict() for loader in many)


def test_a_state_continues_with_another_batch_size_or_number_of_ranks():
    one = TrainLoader(numbered(300), batch_size=6, seq_len=7, seed=3)
    take(one, 4)
    state = one.state_dict()
    expected = rows(take(one, 9))
    small = TrainLoader(numbered(300), batch_size=2, seq_len=7, seed=3)
    small.load_state_dict(state)
    assert rows(take(small, 27)) == expected


def test_documents_are_numbered_within_a_row():
    ids = np.array([0, 5, 6, 0, 7, 0, 8, 9], dtype=np.uint16)
    tokens = TokenSet([ids], bos_id=0, n_documents=3, n_bytes=5)
    batch = next(validation_batches(tokens, batch_size=1, seq_len=7, document_mask=True))
    assert batch.document_BT.tolist() == [[1, 1, 1, 2, 2, 3, 3]]
    two_rows = next(validation_batches(tokens, batch_size=2, seq_len=3, document_mask=True))
    assert two_rows.document_BT.tolist() == [[1, 1, 1], [1, 1, 2]]  # counted afresh in each row
    late = TokenSet([ids[1:]], bos_id=0, n_documents=3, n_bytes=5)
    assert next(
        validation_batches(late, batch_size=1, seq_len=6, document_mask=True)
    ).document_BT.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert next(validation_batches(tokens, batch_size=1, seq_len=7)).document_BT is None


@settings(deadline=None, max_examples=100)
@given(n=st.integers(2, 80), batch_size=st.integers(1, 4), seq_len=st.integers(1, 9), world=st.integers(1, 3))
def test_a6_validation_is_in_order_and_predicts_every_token_once(n, batch_size, seq_len, world):
    options = {"batch_size": batch_size, "seq_len": seq_len, "world_size": world}
    by_rank = [list(validation_batches(numbered(n), rank=r, **options)) for r in range(world)]
    assert len({len(batches) for batches in by_rank}) == 1  # ranks stay in step
    in_order = [batch for together in zip(*by_rank, strict=True) for batch in together]
    targets = torch.cat([b.targets_BT.flatten() for b in in_order])
    assert targets[: n - 1].tolist() == list(range(1, n))
    assert (targets[n - 1 :] == IGNORE).all()
    inputs = torch.cat([b.inputs_BT.flatten() for b in in_order])
    assert inputs[: n - 1].tolist() == list(range(n - 1))
    assert len(targets) - (n - 1) < world * batch_size * seq_len  # no more padding than a round of batches


def test_a6_validation_is_the_same_every_time():
    twice = [rows(validation_batches(numbered(90), batch_size=2, seq_len=7)) for _ in range(2)]
    assert twice[0] == twice[1]


def test_t5_padding_is_never_a_target():
    last = list(validation_batches(numbered(12), batch_size=2, seq_len=4))[-1]
    assert last.targets_BT.tolist() == [[9, 10, 11, IGNORE], [IGNORE] * 4]
    assert last.inputs_BT.tolist() == [[8, 9, 10, BOS], [BOS] * 4]
    dense = torch.zeros(2, 4, 12)
    loss = torch.nn.functional.cross_entropy(dense.flatten(0, 1), last.targets_BT.flatten(), reduction="sum")
    assert loss.item() == pytest.approx(3 * np.log(12))


@pytest.mark.parametrize(
    ("n", "batch_size", "seq_len", "world"), [(5, 1, 5, 1), (0, 1, 4, 1), (39, 5, 8, 1), (79, 5, 8, 2)]
)
def test_r4_t25_too_little_text_for_one_batch_is_an_error_before_training(n, batch_size, seq_len, world):
    with pytest.raises(ValueError, match=rf"has {n} tokens: expected at least \d+.*give more text"):
        TrainLoader(numbered(n), batch_size=batch_size, seq_len=seq_len, seed=0, world_size=world)


def test_r4_just_enough_text_for_one_batch_is_enough():
    for n, batch_size, seq_len in ((6, 1, 5), (40, 5, 8)):
        loader = TrainLoader(numbered(n), batch_size=batch_size, seq_len=seq_len, seed=0)
        assert len(take(loader, 5)) == 5


def test_r4_one_token_of_validation_text_is_an_error_at_once():
    with pytest.raises(ValueError, match="validation split has 1 tokens: expected at least 2"):
        validation_batches(numbered(1), batch_size=1, seq_len=4)


def test_r19_rows_of_one_token_and_batches_of_one_row():
    loader = TrainLoader(numbered(2), batch_size=1, seq_len=1, seed=0)
    assert all((b.inputs_BT + b.targets_BT).tolist() == [[1]] for b in take(loader, 5))
    assert [b.targets_BT.tolist() for b in validation_batches(numbered(2), batch_size=1, seq_len=1)] == [
        [[1]]
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("batch_size", -4), ("seq_len", 0), ("world_size", 0), ("rank", 1)]
)
def test_r14_sizes_that_cannot_work_are_refused(name, value):
    options = {"batch_size": 1, "seq_len": 4, name: value}
    with pytest.raises(ValueError, match=rf"{name} is {value}: expected"):
        TrainLoader(numbered(50), seed=0, **options)
    with pytest.raises(ValueError, match=rf"{name} is {value}: expected"):
        validation_batches(numbered(50), **options)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"seed": 1, "epoch": 0},
        {"seed": 1, "epoch": 0, "cursor": 0, "more": 1},
        {"seed": 1, "epoch": 0, "cursor": 25},
        {"seed": 1, "epoch": 0, "cursor": -1},
        {"seed": 1, "epoch": -1, "cursor": 0},
        {"seed": 1, "epoch": 0, "cursor": True},
    ],
)
def test_a_state_that_is_not_of_this_data_is_refused(state):
    loader = TrainLoader(numbered(100), batch_size=2, seq_len=4, seed=0)
    with pytest.raises(ValueError, match="loader state is"):
        loader.load_state_dict(state)


def test_a_token_set_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one array"):
        TokenSet([], bos_id=0, n_documents=0, n_bytes=0)
