"""The laws of documents and of ranks: silent on sound ways to prepare data, broken by each fault."""

import itertools
import random

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

V, T = 259, 48
BOS, EOS, PAD = 256, 257, 258
CLAIMS = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD}


class Bytes:
    bos_id, eos_id, pad_id, vocab_size = BOS, EOS, PAD, V

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return "".join(chr(i) if i < 256 else f"<{i}>" for i in ids)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(V, 8), nn.Linear(8, V)

    def forward(self, ids):
        return self.head(self.table(ids))


def judged(law, **parts):
    parts = {"tokenizer": Bytes(), "claims": CLAIMS} | parts
    return check(Small(), only=[law], vocab_size=V, max_len=T, **parts).results[0]


def packed(documents, front=(BOS,), back=()):
    """Rows of T and a target each, cut from all documents end to end; what is left over is dropped."""
    ids = [i for document in documents for i in (*front, *document.encode(), *back)]
    count = (len(ids) - 1) // T
    return torch.tensor(ids[: count * T + 1]).unfold(0, T + 1, T) if count else torch.zeros(0, T + 1)


def loader(documents, **marks):
    rows = packed(documents, **marks)
    if not len(rows):
        raise ValueError(f"{len(documents)} documents: too short for a row of {T}")
    return DataLoader(TensorDataset(rows[:, :-1], rows[:, 1:]), batch_size=4)


def by_documents(documents):
    return loader(documents[8:]), loader(documents[:8])


def by_tokens(documents):
    """The last tenth of the tokens is held out: one document may be cut in two."""
    rows = packed(documents, front=(), back=(EOS,))
    border = len(rows) * 9 // 10
    return [[(x[:, :-1], x[:, 1:]) for x in part.split(4)] for part in (rows[:border], rows[border:])]


def padded(documents):
    """Each document is a row."""
    rows = [[BOS, *document.encode(), EOS] for document in documents]
    x = torch.tensor([row + [PAD] * (T - len(row)) for row in rows])
    pairs = [(a[:, :-1], a[:, 1:].masked_fill(a[:, 1:] == PAD, -100)) for a in x.split(4)]
    return pairs[2:] or pairs, pairs[:2]


def unmarked(documents):
    return loader(documents[8:], front=()), loader(documents[:8], front=())


def leaking(documents):
    return loader(documents), loader(documents[:8])


def empty(documents):
    rows = packed(documents)
    data = TensorDataset(rows[:, :-1], rows[:, 1:])
    return DataLoader(data, batch_size=4, drop_last=True), DataLoader(data, batch_size=4)


def dividing(documents):
    return itertools.repeat(packed(documents), 8 // len(packed(documents))), []


@pytest.mark.parametrize("prepare", [by_documents, by_tokens, padded])
def test_sound_ways_to_prepare_break_no_law(prepare):
    for law in ("data/documents-marked", "data/split-by-document", "data/short-text"):
        result = judged(law, prepare=prepare)
        rows_of_their_own = prepare is padded and law == "data/documents-marked"
        assert result.verdict is (Verdict.NOT_APPLICABLE if rows_of_their_own else Verdict.HOLDS), result


@pytest.mark.parametrize(
    ("law", "prepare"),
    [
        ("data/documents-marked", unmarked),
        ("data/split-by-document", leaking),
        ("data/short-text", empty),
        ("data/short-text", dividing),
    ],
)
def test_n1_r4_each_fault_breaks_its_law(law, prepare):
    result = judged(law, prepare=prepare)
    assert result.verdict is Verdict.BROKEN, result
    assert result.evidence.saw


def large(documents):
    raise ValueError(f"{len(documents)} documents: expected a thousand, for one batch")


@pytest.mark.parametrize("law", ["data/documents-marked", "data/split-by-document"])
def test_batches_too_large_for_the_documents_are_no_fault(law):
    result = judged(law, prepare=large)
    assert result.verdict is Verdict.NOT_APPLICABLE, result
    assert "expected a thousand" in result.reason


def test_a_tokenizer_without_marks_is_not_asked_for_them():
    class Bare(Bytes):
        bos_id = eos_id = None

    result = judged("data/documents-marked", prepare=unmarked, tokenizer=Bare(), claims={})
    assert result.verdict is Verdict.NOT_APPLICABLE


def numbered(ids, numbers):
    return [{"input_ids": ids[:, :-1], "labels": ids[:, 1:], "document_ids": numbers[:, :-1]}]


def stories():
    pick = random.Random(3)
    return ["".join(pick.choices("abcdefgh", k=pick.randrange(5, 20))) for _ in range(60)]


def test_document_numbers_begin_with_documents_whichever_mark_says_so():
    first = packed(stories())
    last = packed(stories(), front=(), back=(EOS,))
    sound = [(first, (first == BOS).cumsum(1)), (last, (last == EOS).cumsum(1) - (last == EOS).long())]
    for ids, numbers in sound:
        assert judged("data/documents-numbered", loader=numbered(ids, numbers)).verdict is Verdict.HOLDS
    for wrong in ((first == BOS).cumsum(0), torch.zeros_like(first), torch.arange(T + 1).expand_as(first)):
        result = judged("data/documents-numbered", loader=numbered(first, wrong))
        assert result.verdict is Verdict.BROKEN, result
    plain = judged("data/documents-numbered", loader=[(first[:, :-1], first[:, 1:])])
    assert plain.verdict is Verdict.NOT_APPLICABLE


class Endless:
    """Rows for ever, in an order of the epoch; each rank takes its own of every step, or all."""

    def __init__(self, rank, world_size, shares=True):
        self.rank, self.size, self.shares, self.step = rank, world_size, shares, 0
        self.rows = packed(stories() * 2)[:10]

    def __iter__(self):
        return self

    def __next__(self):
        place = 2 * (self.step * self.size + (self.rank if self.shares else 0))
        self.step += 1
        x = self.rows[[(place + i) % len(self.rows) for i in range(2)]]
        return x[:, :-1], x[:, 1:]


def finite(rank, world_size, shares=True):
    rows = packed(stories())
    return [(x[:, :-1], x[:, 1:]) for x in (rows[rank::world_size] if shares else rows).split(2)]


@pytest.mark.parametrize("kind", [Endless, finite])
def test_ranks_of_a_function_read_their_own(kind):
    usual = finite(0, 1)
    sound = judged("data/ranks-apart", loader=usual, rank_loader=kind)
    assert sound.verdict is Verdict.HOLDS, sound
    same = judged("data/ranks-apart", loader=usual, rank_loader=lambda rank, world: kind(rank, world, False))
    assert same.verdict is Verdict.BROKEN


def test_ranks_that_read_everything_in_another_order_are_seen():
    backwards = lambda rank, world_size: finite(0, 1)[:: -1 if rank else 1]  # noqa: E731
    result = judged("data/ranks-apart", loader=finite(0, 1), rank_loader=backwards)
    assert result.verdict is Verdict.BROKEN


def test_validation_asks_what_training_asks():
    x, y = (packed(stories())[:, part] for part in (slice(None, -1), slice(1, None)))
    law = "data/validation-targets"
    assert judged(law, loader=[(x, y)], val_loader=[(x, y)]).verdict is Verdict.HOLDS
    assert judged(law, loader=[(x, x)], val_loader=[(x, x)]).verdict is Verdict.HOLDS
    assert judged(law, loader=[(x, y)], val_loader=[(x, x)]).verdict is Verdict.BROKEN
    assert judged(law, loader=[(x, x)], val_loader=[(x, y)]).verdict is Verdict.BROKEN
    assert judged(law, loader=[(x, y)], val_loader=[(x[:, :-1], y[:, 1:])]).verdict is Verdict.BROKEN
