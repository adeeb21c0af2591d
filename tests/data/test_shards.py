"""Preparing: what is written, what is found again, what is made again, what is refused."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from trueformer.data import manifest as manifests
from trueformer.data.config import DataConfig
from trueformer.data.manifest import DamagedShards, verify
from trueformer.data.shards import cache_folder, prepare
from trueformer.data.split import hash_document
from trueformer.tokenization.bpe import ByteBPE, train_bpe


@pytest.fixture
def config(jsonl, tmp_path):
    def make(**changes):
        values = {
            "source": str(tmp_path / "stories.jsonl"),
            "cache": str(tmp_path / "cache"),
            "vocab_size": 300,
        }
        return DataConfig(**(values | changes))

    jsonl(range(60))
    return make


def contents(folder):
    return {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in folder.iterdir()}


def left_in(cache):
    """What preparing leaves there, but for the empty files that processes wait at."""
    locks = [path for path in cache.iterdir() if path.suffix == ".lock"]
    assert not any(path.stat().st_size for path in locks)
    return [path.name for path in cache.iterdir() if path not in locks]


def documents(tokens, tokenizer):
    """The slow way: all ids, cut before each BOS, decoded."""
    ids = tokens.window(0, tokens.n_tokens)
    return [
        tokenizer.decode(part.tolist()) for part in np.split(ids, np.flatnonzero(ids == tokens.bos_id))[1:]
    ]


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_n1_the_shards_hold_every_document_once_with_bos_in_front(config, story, kind):
    data = prepare(config(tokenizer=kind))
    train = documents(data.train, data.tokenizer)
    validation = documents(data.validation, data.tokenizer)
    if kind == "bpe":  # validation may hold characters that the training text lacks
        assert sorted(train + validation) == sorted(story(n) for n in range(60))
    assert not {hash_document(d) for d in train} & {hash_document(d) for d in validation}
    for tokens, texts in ((data.train, train), (data.validation, validation)):
        assert tokens.window(0, 1).tolist() == [data.tokenizer.bos_id]
        assert tokens.n_documents == len(texts) > 0
        if kind == "bpe":
            assert tokens.n_bytes == sum(len(text.encode()) for text in texts)


def test_the_manifest_counts_and_hashes_what_is_there(config):
    data = prepare(config())
    manifest = json.loads((data.folder / "manifest.json").read_text())
    assert manifest["tokenizer"] == data.tokenizer.fingerprint
    for name, tokens in (("train", data.train), ("validation", data.validation)):
        part = manifest["splits"][name]
        assert (part["tokens"], part["documents"], part["bytes"]) == (
            tokens.n_tokens,
            tokens.n_documents,
            tokens.n_bytes,
        )
        for shard in part["shards"]:
            content = (data.folder / shard["file"]).read_bytes()
            assert shard["sha256"] == hashlib.sha256(content).hexdigest()
            assert shard["bytes"] == len(content)
    verify(data.folder)


def test_preparing_again_changes_nothing(config):
    first = prepare(config())
    before = contents(first.folder)
    second = prepare(config())
    assert second.folder == first.folder
    assert contents(first.folder) == before
    assert second.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert left_in(first.folder.parent) == [first.folder.name]


def test_a_change_of_source_split_or_tokenizer_makes_other_shards(config, jsonl):
    first = prepare(config())
    others = [
        prepare(config(val_fraction=0.3)),
        prepare(config(vocab_size=310)),
        prepare(config(tokenizer="char")),
        prepare(config(), tokenizer=train_bpe(["other text"], 280)),
    ]
    jsonl(range(61))
    others.append(prepare(config()))
    assert len({data.folder for data in [first, *others]}) == 6
    assert len({data.train.fingerprint for data in [first, *others]}) == 6
    assert others[-1].train.n_documents + others[-1].validation.n_documents == 61


def test_settings_that_do_not_touch_the_tokens_reuse_them(config):
    assert prepare(config()).folder == prepare(config(seq_len=17, document_mask=True)).folder


def test_the_tokenizer_learns_from_the_training_documents_alone(tmp_path):
    texts = [f"plain words number {n} and more of the same" for n in range(40)]
    texts = [text + "☃" if hash_document(text + "☃") / 2**64 < 0.3 else text for text in texts]
    file = tmp_path / "stories.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = DataConfig(source=str(file), cache=str(tmp_path / "cache"), tokenizer="char", val_fraction=0.3)
    data = prepare(config)
    held_out = [d for d in documents(data.validation, data.tokenizer) if "\ufffd" in d]
    assert (
        len(held_out) == sum("☃" in text for text in texts) > 0
    )  # in validation documents only: it has no id
    assert data.tokenizer.encode("☃") == [data.tokenizer.unk_id]
    manifest = json.loads((data.folder / "manifest.json").read_text())
    assert manifest["splits"]["validation"]["unknown"] == len(held_out)


def test_t15_a_tokenizer_file_is_used_as_it_is(config, tmp_path):
    tokenizer = train_bpe(["some other words"], 270)
    tokenizer.save(tmp_path / "tokenizer.json")
    data = prepare(config(tokenizer=str(tmp_path / "tokenizer.json")))
    assert data.tokenizer.fingerprint == tokenizer.fingerprint
    assert prepare(config(), tokenizer=tokenizer).folder == data.folder


def test_a_validation_source_of_its_own(config, jsonl, story):
    held_out = jsonl(range(50, 70), "held-out.jsonl")
    data = prepare(config(validation=str(held_out)))
    assert data.validation.n_documents == 20
    assert data.train.n_documents == 50  # the ten that are in both are held out


def test_ids_are_as_narrow_as_the_vocabulary_allows(config):
    assert json.loads((prepare(config()).folder / "manifest.json").read_text())["dtype"] == "<u2"
    tokenizer = train_bpe(["a b"], 260)
    tokenizer.vocab_size = 2**16  # the last vocabulary whose ids fit 16 bits
    assert manifests.token_dtype(tokenizer) == "<u2"
    tokenizer.vocab_size = 2**16 + 1
    assert manifests.token_dtype(tokenizer) == "<u4"


def test_many_small_shards_hold_the_same_tokens_as_one(config, monkeypatch):
    tokenizer = train_bpe(["the dog"], 280)
    one = prepare(config(), tokenizer=tokenizer)
    monkeypatch.setattr(manifests, "SHARD_TOKENS", 100)
    monkeypatch.setattr(manifests, "BATCH_CHARACTERS", 60)
    many = prepare(config(cache=str(one.folder.parent / "second")), tokenizer=tokenizer)
    assert len(list(many.folder.glob("train-*.bin"))) > 5
    n = one.train.n_tokens
    assert np.array_equal(many.train.window(0, n), one.train.window(0, n))


def damage_truncate(folder):
    file = folder / "train-00000.bin"
    file.write_bytes(file.read_bytes()[:-2])


def damage_flip(folder):
    file = folder / "train-00000.bin"
    content = bytearray(file.read_bytes())
    content[11] ^= 1
    file.write_bytes(content)


def damage_remove(folder):
    (folder / "validation-00000.bin").unlink()


def damage_manifest(folder):
    (folder / "manifest.json").write_text("{}")


def damage_counts(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["splits"]["train"]["tokens"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def damage_tokenizer(folder):
    train_bpe(["x"], 270).save(folder / "tokenizer.json")


def damage_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_flip,
        damage_remove,
        damage_manifest,
        damage_counts,
        damage_tokenizer,
        damage_no_tokenizer,
    ],
)
def test_damaged_shards_are_reported_and_made_again(config, capsys, damage):
    whole = {name: content for name, (_, content) in contents(prepare(config()).folder).items()}
    folder = prepare(config()).folder
    damage(folder)
    data = prepare(config(), check=True)
    assert "damaged, making them again" in capsys.readouterr().err
    assert {name: content for name, (_, content) in contents(data.folder).items()} == whole
    assert left_in(folder.parent) == [folder.name]


@pytest.mark.parametrize("damage", [damage_truncate, damage_remove])
def test_a_cut_or_missing_shard_is_noticed_without_reading_it(config, capsys, damage):
    damage(prepare(config()).folder)
    assert prepare(config()).train.n_documents > 0
    assert "expected" in capsys.readouterr().err
    prepare(config())
    assert capsys.readouterr().err == ""


def test_a_flipped_bit_is_found_when_asked(config):
    data = prepare(config())
    damage_flip(data.folder)
    with pytest.raises(DamagedShards, match=r"train-00000\.bin has SHA-256"):
        verify(data.folder)


def test_a_failed_preparation_leaves_nothing_behind(config, tmp_path):
    (tmp_path / "stories.jsonl").write_text('{"text": "one"}\n{"text": "two"}\nnonsense\n')
    with pytest.raises(ValueError, match="line 3"):
        prepare(config())
    assert left_in(tmp_path / "cache") == []


PREPARE_SLOWLY = """
import sys, time
from trueformer.data import shards
from trueformer.data.config import DataConfig

real = shards._write

def slow(*arguments):
    print("writes")
    time.sleep(1)
    real(*arguments)

shards._write = slow
source, cache = sys.argv[1:]
print(shards.prepare(DataConfig(source=source, cache=cache, vocab_size=300)).train.n_documents)
"""


def test_of_processes_that_prepare_at_once_one_does_the_work(config):
    command = [sys.executable, "-c", PREPARE_SLOWLY, config().source, config().cache]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(words.count("writes") for words in told) == 1
    assert {words[-1] for words in told} == {str(prepare(config()).train.n_documents)}


class Counting(ByteBPE):
    """A BPE that keeps how many texts each call brought."""

    def encode(self, text, **options):
        self.calls = [*getattr(self, "calls", []), len(text)]
        return super().encode(text, **options)


def test_r8_documents_are_tokenised_many_at_a_time(config):
    tokenizer = Counting(train_bpe(["the dog"], 280).library, bos="<|bos|>", eos="<|eos|>")
    data = prepare(config(), tokenizer=tokenizer)
    assert tokenizer.calls == [data.train.n_documents, data.validation.n_documents]


def test_r4_one_document_cannot_be_split_and_says_so(config, jsonl):
    jsonl(range(1))
    with pytest.raises(ValueError, match="has 1 different documents: expected at least 2"):
        prepare(config())


def test_the_cache_is_the_users_unless_configured(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(DataConfig()) == tmp_path / "trueformer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder(DataConfig()) == tmp_path / "home" / ".cache" / "trueformer"
    assert cache_folder(DataConfig(cache=str(tmp_path / "here"))) == tmp_path / "here"


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq_len", 0), ("seq_len", -5), ("val_fraction", 0.0), ("val_fraction", 1.5), ("vocab_size", 10)],
)
def test_r14_settings_that_cannot_work_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"{field} is {value}: expected"):
        DataConfig(**{field: value})
