"""tokenizer.json: written, read back, wrapped from elsewhere, refused when it is none."""

import json

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trueformer.tokenization import load
from trueformer.tokenization.bpe import ByteBPE
from trueformer.tokenization.library import MAX_VOCAB_SIZE
from trueformer.tokenization.load import load_tokenizer


def foreign_library() -> tokenizers.Tokenizer:
    """A byte-level BPE as GPT-2's: one special for everything, an ordinary added token, the rest left on."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    library.train_from_iterator(["one two three " * 5], trainer)
    library.add_tokens(["<think>", "<é>"])
    library.enable_truncation(4)
    library.enable_padding()
    library.model.dropout = 0.5
    return library


def test_t15_the_tokenizer_comes_from_the_file_ids_and_all(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        loaded = load_tokenizer(path)
        assert type(loaded) is type(tokenizer)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode(texts, bos=True) == tokenizer.encode(texts, bos=True)
        assert loaded.special_ids == tokenizer.special_ids
        roles = ("bos_id", "eos_id", "pad_id", "unk_id", "vocab_size")
        assert [getattr(loaded, r) for r in roles] == [getattr(tokenizer, r) for r in roles]
        assert loaded.decode(range(loaded.vocab_size)) == tokenizer.decode(range(tokenizer.vocab_size))


def test_saved_files_work_in_the_libraries_of_others(tokenizer, texts, tmp_path):
    file = tmp_path / "tokenizer.json"
    tokenizer.save(file)
    ids = tokenizer.encode(texts[0], bos=True)
    assert tokenizers.Tokenizer.from_file(str(file)).encode(texts[0]).ids == ids
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(file))
    assert theirs.encode(texts[0]) == ids
    assert theirs.decode(ids, skip_special_tokens=True) == texts[0]


def test_a_foreign_library_keeps_its_ids_and_gains_roles(tmp_path):
    library = foreign_library()
    ours = ByteBPE(library, bos="<|endoftext|>", eos=0)
    assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.unk_id) == (0, 0, 0, None)
    text = "one two three four five six"
    assert len(library.encode(text).ids) == 4  # theirs is still cut
    assert len({tuple(ids) for ids in ours.encode([text] * 50)}) == 1
    library.model.dropout = None
    assert ours.encode(text)[:4] == library.encode(text).ids
    assert len(ours.encode(text)) > 4
    assert ours.encode(["one", text]) == [ours.encode("one"), ours.encode(text)]  # nothing is padded
    assert ours.encode("<think>") == [library.token_to_id("<think>")]  # not special: their own choice
    assert ours.decode(ours.encode("<think> two<é>")) == "<think> two<é>"
    assert ours.token_bytes()[ours.encode("<é>")].tolist() == [4]
    assert ours.encode("<|endoftext|>") != [0]
    ours.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path).fingerprint == ours.fingerprint


@pytest.mark.parametrize("adds_bos", [True, False])
def test_whether_others_put_bos_in_front_is_saved(tmp_path, adds_bos):
    ours = ByteBPE(foreign_library(), bos=0, eos=0, adds_bos=adds_bos)
    ours.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("one two").ids
    assert theirs == ours.encode("one two", bos=adds_bos)
    assert load_tokenizer(tmp_path).adds_bos is adds_bos
    assert ours.encode("one", bos=True)[0] == ours.bos_id  # what our callers ask for they get


def test_a_role_that_was_no_special_token_becomes_one():
    ours = ByteBPE(foreign_library(), bos="<|endoftext|>", eos="<think>")
    assert set(ours.special_ids) == {"<|endoftext|>", "<think>"}
    assert ours.eos_id not in ours.encode("one <think> two")
    assert ours.decode(ours.encode("one <think> two")) == "one <think> two"


def test_a_special_token_that_ordinary_text_makes_too_is_refused():
    with pytest.raises(ValueError, match="'one', which ordinary text makes too"):
        ByteBPE(foreign_library(), bos=0, eos=0, pad="one")


@pytest.mark.parametrize("role", ["bos", "eos", "pad"])
def test_a_role_outside_the_vocabulary_is_refused(role):
    roles = {"bos": 0, "eos": 0, "pad": 0} | {role: "<|nowhere|>"}
    with pytest.raises(ValueError, match=rf"{role} is '<|nowhere|>'"):
        ByteBPE(foreign_library(), **roles)
    with pytest.raises(ValueError, match=rf"{role} is 999999"):
        ByteBPE(foreign_library(), **(roles | {role: 999_999}))


def test_hugging_face_files_say_their_roles_in_a_second_file(tmp_path):
    foreign_library().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="does not say which tokens are BOS and EOS"):
        load_tokenizer(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"bos_token": None, "eos_token": {"content": "<|endoftext|>"}}))
    assert load_tokenizer(tmp_path).bos_id == 0
    config.unlink()
    assert load_tokenizer(tmp_path, otherwise={"eos": 0}).eos_id == 0


def test_a_sentencepiece_style_tokenizer_is_refused():
    library = tokenizers.Tokenizer(models.BPE(vocab={"<s>": 0, "▁a": 1}, merges=[]))
    library.decoder = decoders.Metaspace()
    with pytest.raises(ValueError, match="decodes with Metaspace: expected ByteLevel"):
        ByteBPE(library, bos="<s>", eos="<s>")


def test_files_that_are_no_tokenizer_are_refused(bpe, tmp_path, monkeypatch):
    file = tmp_path / "tokenizer.json"
    bpe.save(file)
    whole = file.read_text()
    for bad in ("", "[]", "{}", whole[: len(whole) // 2], '{"version": "1.0"}'):
        file.write_text(bad)
        with pytest.raises(ValueError, match=r"is not a tokenizer.json"):
            load_tokenizer(file)
    file.write_text(whole.replace('"!": 3', f'"!": {MAX_VOCAB_SIZE}'))
    with pytest.raises(ValueError, match="the largest token id is"):
        load_tokenizer(file)
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError):
        load_tokenizer(file)
    file.write_text(whole)
    monkeypatch.setattr(load, "SIZE_LIMIT", 100)
    with pytest.raises(ValueError, match="expected at most 100 bytes"):
        load_tokenizer(file)


def test_t25_a_missing_tokenizer_is_reported_by_its_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer.json"):
        load_tokenizer(tmp_path)
