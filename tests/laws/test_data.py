"""The laws of the data: silent on sound loaders, and each breaks on a loader with its fault."""

import itertools
import string
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

V, T = 128, 40
PAD, BOS, EOS = 0, 1, 2


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(V, 8), nn.Linear(8, V)

    def forward(self, ids):
        return self.head(self.table(ids))


def text(count, seed=0):
    return torch.randint(3, V, (count,), generator=torch.Generator().manual_seed(seed))


def rows(count=24, seed=0):
    return text(count * T + 1, seed).unfold(0, T + 1, T)


def pairs(windows, size=4):
    return [(w[:, :-1], w[:, 1:]) for w in windows.split(size)]


def loader(windows=None, shuffle=True, **options):
    windows = rows() if windows is None else windows
    data = TensorDataset(windows[:, :-1], windows[:, 1:])
    return DataLoader(data, batch_size=4, shuffle=shuffle, **options)


def judged(law, **parts):
    return check(Small(), only=[law], vocab_size=V, max_len=T, **parts).results[0]


def documents(bos=True):
    """One padded document a row, with its targets."""
    x = torch.full((8, T), PAD)
    y = torch.full((8, T), -100)
    for i in range(8):
        words = ([BOS] if bos else []) + text(10 + 3 * i, i).tolist() + [EOS]
        x[i, : len(words) - 1], y[i, : len(words) - 1] = torch.tensor(words[:-1]), torch.tensor(words[1:])
    return [(x, y)]


def packed(bos=True):
    """Documents end to end."""
    ids = [i for n in range(60) for i in [BOS] * bos + text(9 + n % 7, n).tolist() + [EOS]]
    return pairs(torch.tensor(ids)[: len(ids) // (T + 1) * (T + 1)].view(-1, T + 1))


class Cursor:
    """A loader that keeps its place; with `forgets`, only in words."""

    def __init__(self, forgets=False):
        self.batches, self.place, self.forgets, self.resumed = pairs(rows()), 0, forgets, False

    def __iter__(self):
        self.place, self.resumed = (self.place if self.resumed else 0), False
        while self.place < len(self.batches):
            self.place += 1
            yield self.batches[self.place - 1]

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place, self.resumed = (0 if self.forgets else state["place"]), True


class Ranks:
    """A loader of one of several processes, which reads its own part, or everything."""

    def __init__(self, all_of_it=False):
        self.rank, self.world_size, self.all_of_it = 0, 2, all_of_it

    def __iter__(self):
        start, step = (0, 1) if self.all_of_it else (self.rank, self.world_size)
        return iter(pairs(rows()[start::step]))


class Losing:
    """Each epoch leaves eight rows out, others each time."""

    def __init__(self, lost):
        self.lost, self.epoch = lost, 0

    def __iter__(self):
        self.epoch += 1
        order = torch.randperm(24, generator=torch.Generator().manual_seed(self.epoch))
        return iter(pairs(rows()[order[self.lost :]]))


CLAIMS = {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS}
CASES = {
    # law: (sound parts, parts with the fault)
    "data/not-empty": ({"loader": pairs(rows())}, {"loader": []}),
    "data/integers": ({"loader": pairs(rows().int())}, {"loader": [(a.float(), b) for a, b in pairs(rows())]}),
    "data/in-vocabulary": ({"loader": pairs(rows())}, {"loader": pairs(rows() + 3)}),
    "data/uses-vocabulary": ({"loader": pairs(rows())}, {"loader": pairs(rows() % 20)}),
    "data/shapes": ({"loader": pairs(rows())}, {"loader": [(a, b[:, None]) for a, b in pairs(rows())]}),
    "data/targets-follow": ({"loader": pairs(rows())}, {"loader": [(a[:, :-1], b[:, 1:]) for a, b in pairs(rows())]}),
    "data/mask-trains": (
        {"loader": documents(), "claims": CLAIMS},
        {"loader": [(x, x.where(x == PAD, -100)) for x, _ in documents()], "claims": CLAIMS},
    ),
    "data/bos": (
        {"loader": packed(), "claims": CLAIMS},
        {"loader": packed(bos=False), "claims": CLAIMS},
    ),
    "data/validation-apart": (
        {"loader": loader(), "val_loader": pairs(rows(8, seed=1))},
        {"loader": loader(), "val_loader": pairs(rows()[:8])},
    ),
    "data/validation-order": ({"val_loader": loader(shuffle=False)}, {"val_loader": loader()}),
    "data/training-order": ({"loader": loader()}, {"loader": loader(shuffle=False)}),
    "data/epoch-complete": ({"loader": Losing(0)}, {"loader": Losing(8)}),
    "data/no-repeats": (
        {"loader": loader()},
        {"loader": loader(rows(6).repeat(4, 1), generator=torch.Generator().manual_seed(0))},
    ),
    "data/ranks-apart": ({"loader": Ranks()}, {"loader": Ranks(all_of_it=True)}),
    "data/resumes": ({"loader": Cursor()}, {"loader": Cursor(forgets=True)}),
}  # fmt: skip


@pytest.mark.parametrize("law", CASES)
def test_each_law_holds_of_sound_data_and_breaks_of_faulty(law):
    sound, faulty = CASES[law]
    assert judged(law, **sound).verdict is Verdict.HOLDS
    result = judged(law, **faulty)
    assert result.verdict in (Verdict.BROKEN, Verdict.ADVICE), result
    assert result.evidence.saw


@pytest.mark.parametrize("file", ["gpt2_like.py", "llama_like.py"])
def test_no_law_of_the_data_breaks_of_the_foreign_subjects(planted, file):
    module = planted(file)
    model = module.build()
    report = check(model, only=["data"], **module.parts(model))
    fine = (Verdict.HOLDS, Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED)
    assert [r.law.id for r in report.results if r.verdict not in fine] == []


def test_a2_text_in_place_of_tensors_is_seen():
    result = judged("data/integers", loader=[{"text": ["a", "b"]}])
    assert result.verdict is Verdict.BROKEN
    assert "text: list" in result.evidence.saw


def test_a12_characters_modulo_a_thousand_leave_most_of_a_vocabulary_unused():
    ids = torch.tensor([ord(c) % 1000 for c in string.ascii_letters * 40])
    model = nn.Sequential(nn.Embedding(16000, 4), nn.Linear(4, 16000))
    loader = pairs(ids[: len(ids) // (T + 1) * (T + 1)].view(-1, T + 1))
    (result,) = check(model, only=["data/uses-vocabulary"], vocab_size=16000, loader=loader).results
    assert result.verdict is Verdict.ADVICE
    assert result.law.advice


def test_n2_ids_of_either_width_are_sound():
    for dtype in (torch.int32, torch.int64):
        assert judged("data/integers", loader=pairs(rows().to(dtype))).verdict is Verdict.HOLDS


def test_n1_padded_rows_begin_with_bos():
    assert judged("data/bos", loader=documents(), claims=CLAIMS).verdict is Verdict.HOLDS
    assert judged("data/bos", loader=documents(bos=False), claims=CLAIMS).verdict is Verdict.BROKEN


def test_a_tokenizer_that_knows_bos_does_not_demand_it():
    tokenizer = SimpleNamespace(bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD)
    result = judged("data/bos", loader=packed(bos=False), tokenizer=tokenizer)
    assert result.verdict is Verdict.NOT_APPLICABLE


def test_a_sampler_that_repeats_and_loses_is_seen():
    data = TensorDataset(rows())
    again = DataLoader(data, batch_size=4, sampler=[*range(20), 0, 1, 2, 3])
    assert judged("data/epoch-complete", loader=again).verdict is Verdict.BROKEN
    assert judged("data/epoch-complete", loader=loader(drop_last=True)).verdict is Verdict.HOLDS


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_distributed_sampler_is_sound(shuffle):
    data = TensorDataset(rows())
    sampler = DistributedSampler(data, num_replicas=3, rank=1, shuffle=shuffle)
    assert judged("data/ranks-apart", loader=DataLoader(data, sampler=sampler)).verdict is Verdict.HOLDS


def test_random_crops_have_no_epoch_to_judge():
    class Crops:
        def __iter__(self):
            while True:
                start = torch.randint(0, 900, (4, 1))
                yield text(1000)[start + torch.arange(T)], text(1000)[start + 1 + torch.arange(T)]

    assert judged("data/epoch-complete", loader=Crops()).verdict is Verdict.NOT_APPLICABLE
    assert judged("data/validation-order", val_loader=Crops()).verdict is Verdict.BROKEN


def test_a_repeated_trial_batch_is_not_judged():
    assert judged("data/no-repeats", loader=pairs(rows(4)) * 8).verdict is Verdict.NOT_APPLICABLE


def test_the_owners_loader_stays_where_it_is():
    generator = torch.Generator().manual_seed(5)
    mine, twin = loader(generator=generator), loader(generator=torch.Generator().manual_seed(5))
    check(Small(), only=["data", "loss"], vocab_size=V, loader=mine, val_loader=mine, loss=F.cross_entropy)
    for one, other in itertools.zip_longest(mine, twin):
        assert torch.equal(one[0], other[0])


def test_an_iterator_that_cannot_be_copied_is_not_used_up():
    batches = (batch for batch in pairs(rows()))
    result = judged("data/integers", loader=batches)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert len(list(batches)) == 6
