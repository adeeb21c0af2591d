"""The laws of tokenizers: silent on sound ones of every kind, each caught breaking when it is broken."""

import json
import random
import string

import pytest
import tiktoken
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn

from trueformer.doctor.runner import examine
from trueformer.laws.book import select
from trueformer.laws.law import Verdict
from trueformer.subject.subject import Claims, Subject
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters

CORPUS = ["The quick brown Fox can't jump 13 times, over the lazy dog. é ü 中 🙂 hello world\n\t"] * 20
SPECIAL = {"<|bos|>": 256, "<|eos|>": 257, "<|pad|>": 258}


class Bytes:
    """A sound tokenizer of bytes, with merges of its own and everything a tokenizer may offer."""

    bos_id, eos_id, pad_id = SPECIAL.values()
    special_ids = SPECIAL

    def __init__(self, merges=("he", "th", " d")):
        self.merges = {m.encode(): 259 + i for i, m in enumerate(merges)}
        self.pieces = {i: bytes([i]) for i in range(256)} | {i: m for m, i in self.merges.items()}
        self.names = {i: name for name, i in SPECIAL.items()}
        self.vocab_size = 259 + len(merges)

    def encode(self, text, bos=False, eos=False, allow_special=False):
        if allow_special and text in SPECIAL:
            return [SPECIAL[text]]
        raw, ids = text.encode("utf-8", "surrogatepass"), []
        while raw:
            piece = next((m for m in self.merges if raw.startswith(m)), raw[:1])
            ids.append(self.merges.get(piece, piece[0]))
            raw = raw[len(piece) :]
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def encode_batch(self, texts, bos=False, eos=False):
        return [self.encode(text, bos=bos, eos=eos) for text in texts]

    def decode(self, ids, skip_special=True):
        raw = b"".join(self.piece(i, skip_special) for i in ids)
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode(errors="replace")

    def piece(self, i, skip_special=True):
        if i in self.names:
            return b"" if skip_special else self.names[i].encode()
        return self.pieces[i]

    def save(self, path):
        with open(path, "w") as file:  # noqa: PTH123 - as its author would
            json.dump([m.decode() for m in self.merges], file)

    @classmethod
    def load(cls, path):
        with open(path) as file:  # noqa: PTH123 - as its author would
            return cls(json.load(file))


class Characters:
    """A sound table of characters, with an unknown token."""

    unk_id = 0

    def __init__(self, chars=string.printable):
        self.chars = "\ufffd" + chars
        self.vocab_size = len(self.chars)

    def encode(self, text):
        return [max(0, self.chars.find(c)) for c in text]

    def decode(self, ids):
        return "".join(self.chars[i] for i in ids)


def judged(tokenizer, *only, vocab_size=512, **parts):
    subject = Subject(model=nn.Linear(2, 2), vocab_size=vocab_size, tokenizer=tokenizer, **parts)
    laws = select([f"tokenizer/{law}" for law in only] or ["tokenizer"])
    return {result.law.id.split("/")[1]: result for result in examine(subject, laws).results}


def verdict(tokenizer, law, **parts):
    result = judged(tokenizer, law, **parts)[law]
    if result.verdict is Verdict.BROKEN:
        assert result.evidence.saw, "a broken law says what it saw"
    return str(result.verdict)


def byte_level():
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return made


def hugging_face(made, **roles):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=made, **roles)


def word_pieces():
    made = tokenizers.BertWordPieceTokenizer(lowercase=True)
    made.train_from_iterator(CORPUS, vocab_size=300, show_progress=False)
    return hugging_face(
        made._tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )


def sentence_piece():
    """As Llama's: a space in front, spaces as ▁, bytes for what is unknown."""
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *[f"<0x{i:02X}>" for i in range(256)]]
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    return hugging_face(made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def unigrams():
    """As T5's: widths and spaces normalised."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(
        ["ﬁne ½ " + text for text in CORPUS],
        trainers.UnigramTrainer(
            vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    return hugging_face(made, unk_token="<unk>")


def tick_tokens():
    ranks = {bytes([i]): i for i in range(256)} | {b"he": 256, b"ll": 257}
    return tiktoken.Encoding("x", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 258})


SOUND = {
    "bytes": Bytes,
    "characters": Characters,
    "tokenizers": byte_level,
    "transformers": lambda: hugging_face(byte_level(), eos_token="<|end|>"),
    "word-pieces": word_pieces,
    "sentence-piece": sentence_piece,
    "unigrams": unigrams,
    "tiktoken": tick_tokens,
    "our-bpe": lambda: train_bpe(CORPUS, vocab_size=400),
    "our-characters": lambda: train_characters(CORPUS),
}


@pytest.mark.parametrize("name", SOUND)
def test_no_law_is_broken_by_a_sound_tokenizer(name):
    results = judged(SOUND[name]()).values()
    assert [f"{r.line}" for r in results if r.fails] == []
    assert sum(r.verdict is Verdict.HOLDS for r in results) >= 12


def test_every_law_holds_for_a_tokenizer_that_offers_everything():
    text = torch.tensor([list(Bytes().encode(CORPUS[0] * 3))])
    sizes = [len(Bytes().piece(i)) for i in range(262)]
    results = judged(Bytes(), vocab_size=300, loader=[text], token_bytes=sizes).values()
    others = {r.law.id for r in results if r.verdict is not Verdict.HOLDS}
    assert others == {
        "tokenizer/character-count",
        "tokenizer/knows-the-data",
    }  # it has merges, and no unknown
    assert len(results) >= 20


def broken(base=Bytes, **methods):
    """The sound tokenizer with one method wrong."""
    return type("Broken", (base,), methods)()


def test_a12_characters_that_share_an_id():
    class Modulo:
        vocab_size = 1000

        def encode(self, text):
            return [ord(c) % 1000 for c in text]

        def decode(self, ids):
            return "".join(map(chr, ids))

    found = judged(Modulo(), vocab_size=16_000)
    assert found["distinct"].verdict is Verdict.BROKEN
    assert found["round-trip"].verdict is Verdict.BROKEN
    assert found["rows-used"].verdict is Verdict.ADVICE


def test_t15_a_decoder_rebuilt_from_a_range():
    rebuilt = broken(Characters, decode=lambda self, ids: "".join(map(chr, ids)))
    assert verdict(rebuilt, "round-trip") == "broken"
    whole = broken(
        Characters,
        decode=lambda self, ids: "".join(map(chr, ids)),
        encode=lambda self, text: [*map(ord, text)],
    )
    text = "the quick brown fox jumps over the lazy dog and the other dog " * 4
    data = [torch.tensor([Characters("".join(sorted(set(text)))).encode(text)])]
    assert verdict(whole, "reads-the-data", loader=data) == "broken"
    assert verdict(Characters("".join(sorted(set(text)))), "reads-the-data", loader=data) == "holds"
    noise = [torch.randint(0, 101, (4, 64), generator=torch.Generator().manual_seed(0))]
    assert verdict(whole, "reads-the-data", loader=noise) == "not applicable"


def test_t17_unknown_characters_that_crash():
    table = {c: i for i, c in enumerate(string.printable)}
    assert verdict(
        broken(Characters, encode=lambda self, t: [table[c] for c in t]), "unknown-characters"
    ) == ("broken")


def test_characters_that_vanish_are_pointed_out():
    dropping = broken(Characters, encode=lambda self, t: [i for i in Characters.encode(self, t) if i])
    assert verdict(dropping, "lost-characters") == "advice"
    assert judged(dropping, "lost-characters")["lost-characters"].law.advice
    assert not [r for r in judged(dropping).values() if r.fails]


def test_surrogates_that_vanish():
    ignoring = broken(encode=lambda self, t, **more: list(t.encode("utf-8", "ignore")))
    assert verdict(ignoring, "surrogates") == "broken"
    replacing = broken(encode=lambda self, t, **more: list(t.encode("utf-8", "replace")))
    assert verdict(replacing, "surrogates") == "holds"


def test_white_space_that_is_joined():
    joined = broken(encode=lambda self, t, **more: Bytes.encode(self, " ".join(t.split())))
    assert verdict(joined, "white-space") == "advice"


def test_one_byte_lost_by_a_tokenizer_of_bytes():
    lost = broken(encode=lambda self, t, **more: [i for i in Bytes.encode(self, t) if i != ord("<")])
    assert verdict(lost, "round-trip") == "broken"
    assert verdict(Bytes(), "round-trip") == "holds"


def test_spaces_lost_by_a_tokenizer_of_characters():
    stripped = broken(Characters, encode=lambda self, t: Characters.encode(self, t.strip()))
    assert verdict(stripped, "character-count") == "broken"
    assert verdict(Characters(), "character-count") == "holds"
    assert verdict(byte_level(), "character-count") == "not applicable"


def test_control_characters_read_as_others():
    shifted = broken(encode=lambda self, t, **more: [i if i != 5 else 4 for i in Bytes.encode(self, t)])
    assert verdict(shifted, "control-characters") == "broken"


def test_empty_text_with_a_token():
    spaced = broken(encode=lambda self, t, **more: Bytes.encode(self, " " + t))
    assert verdict(spaced, "empty") == "broken"


def test_pieces_that_are_stripped():
    assert verdict(broken(decode=lambda self, ids: Bytes.decode(self, ids).lstrip()), "streams") == "advice"


def test_truncation_left_on():
    cut = byte_level()
    cut.enable_truncation(max_length=128)
    assert verdict(cut, "whole") == "broken"


def test_padding_left_on_in_batches():
    padded = byte_level()
    padded.enable_padding()
    assert verdict(padded, "batch") == "broken"


def test_a_tokenizer_that_loads_in_another_order():
    other = broken(load=classmethod(lambda cls, path: cls(json.load(open(path))[::-1])))  # noqa: PTH123, SIM115
    assert verdict(other, "saved") == "broken"
    assert verdict(Characters(), "saved") == "not applicable"


def test_dropout_left_on():
    at_random = byte_level()
    at_random.model.dropout = 0.5
    assert verdict(at_random, "steady") == "broken"


def test_n1_begin_forgotten_for_one_text():
    forgets = broken(encode=lambda self, t, bos=False, eos=False: Bytes.encode(self, t, eos=eos))
    assert verdict(forgets, "begin-and-end") == "broken"
    twice = broken(encode=lambda self, t, bos=False, eos=False: Bytes.encode(self, t, eos, eos))
    assert verdict(twice, "begin-and-end") == "broken"


def test_n1_begin_forgotten_in_batches():
    forgets = broken(
        encode_batch=lambda self, ts, bos=False, eos=False: [self.encode(t, eos=eos) for t in ts]
    )
    assert verdict(forgets, "begin-and-end-in-batches") == "broken"
    assert verdict(forgets, "begin-and-end") == "holds"


def test_n1_begin_by_default_in_one_path_only():
    default = broken(encode=lambda self, t, bos=True, eos=False: Bytes.encode(self, t, bos, eos))
    assert verdict(default, "batch-by-default") == "broken"
    assert verdict(default, "batch") == "holds"


def test_prepend_and_append_take_the_token():
    class Nano(Bytes):
        def encode(self, text, prepend=None, append=None):
            ids = Bytes.encode(self, text)
            return [prepend] * (prepend is not None) + ids + [append] * (append is not None)

    assert verdict(Nano(), "begin-and-end") == "holds"
    forgets = broken(
        Nano, encode=lambda self, t, prepend=None, append=None: Nano.encode(self, t, None, append)
    )
    assert verdict(forgets, "begin-and-end") == "broken"


def test_special_text_that_cannot_be_forbidden():
    def encode(self, text, allow_special=False):
        return [*Bytes.encode(self, text[:2]), self.eos_id] if "<|eos|>" in text else Bytes.encode(self, text)

    assert verdict(broken(encode=encode), "special-text") == "broken"
    assert verdict(broken(encode=encode), "special-text-by-default") == "advice"
    assert verdict(Bytes(), "special-text") == "holds"
    by_default = judged(byte_level(), "special-text-by-default")["special-text-by-default"]
    assert by_default.verdict is Verdict.ADVICE
    assert by_default.law.advice


def test_a_gap_in_the_vocabulary():
    gap = broken()
    gap.vocab_size += 3
    assert verdict(gap, "contiguous") == "broken"


def test_ids_beyond_the_embedding():
    assert verdict(Bytes(), "fits-model", vocab_size=256) == "broken"
    assert verdict(Bytes(), "fits-model", vocab_size=320) == "holds"


def test_bytes_counted_by_decoding():
    counted = broken(piece=lambda self, i, skip_special=True: Bytes().decode([i]).encode())
    counted.decode = Bytes().decode
    assert verdict(counted, "bytes") == "broken"
    assert verdict(tick_tokens(), "bytes") == "holds"


def test_bytes_counted_as_letters():
    chars = Characters(string.printable + "éß中")
    counts = [1] * chars.vocab_size
    assert verdict(chars, "bytes", token_bytes=counts) == "broken"
    assert verdict(chars, "bytes", token_bytes=[len(c.encode()) for c in chars.chars]) == "holds"
    assert verdict(chars, "bytes", token_bytes=lambda i: len(chars.chars[i].encode())) == "holds"
    assert verdict(chars, "bytes") == "not applicable"


def test_special_tokens_that_count_bytes():
    sizes = [len(Bytes().piece(i)) for i in range(262)]
    assert verdict(Bytes(), "special-bytes", token_bytes=sizes) == "holds"
    shown = [len(Bytes().piece(i, skip_special=False)) for i in range(262)]
    assert verdict(Bytes(), "special-bytes", token_bytes=shown) == "broken"
    assert verdict(Bytes(), "special-bytes") == "not applicable"  # it tells bytes, not their number
    typed = Claims(bos_id=ord("a"), eos_id=257)
    assert verdict(Bytes(), "special-bytes", token_bytes=sizes, claims=typed) == "holds"


def in_latin_only(self, text, **more):
    return list(text.encode("latin-1", "replace"))


def test_a_tokenizer_of_bytes_that_spells_latin_only():
    assert verdict(broken(encode=in_latin_only), "every-character") == "broken"
    ignoring = broken(encode=lambda self, t, **more: list(t.encode("ascii", "ignore")))
    assert verdict(ignoring, "every-character") == "broken"
    for sound in (Bytes(), tick_tokens(), sentence_piece(), train_bpe(CORPUS, vocab_size=400)):
        assert verdict(sound, "every-character") == "holds"
    assert verdict(Characters(), "every-character") == "not applicable"


def test_a_line_end_that_ends_the_text():
    assert verdict(broken(eos_id=10), "end-apart") == "broken"
    assert verdict(Bytes(), "end-apart", claims=Claims(eos_id=ord(" "))) == "broken"
    assert verdict(Bytes(), "end-apart") == "holds"
    lines = broken(Characters, eos_id=1 + string.printable.index("\n"))
    assert verdict(lines, "end-apart") == "not applicable"


def test_a_token_that_begins_every_text_is_not_made_by_one():
    always = broken(encode=lambda self, t, **more: [self.bos_id, *Bytes.encode(self, t)])
    assert verdict(always, "end-apart") == "holds"


STORY = "The quick brown Fox met The other Fox. " * 30


def rows_of(tokenizer, text, length=60):
    ids = tokenizer.encode(text)
    return [torch.tensor([ids[i : i + length]]) for i in range(0, len(ids) - length, length)]


def test_data_with_letters_that_the_tokenizer_does_not_know():
    small = Characters(string.ascii_lowercase + " .")
    assert verdict(small, "knows-the-data", loader=rows_of(small, STORY)) == "broken"
    assert verdict(small, "knows-the-data", loader=rows_of(small, STORY.lower())) == "holds"
    assert verdict(Characters(), "knows-the-data", loader=rows_of(Characters(), STORY)) == "holds"
    assert verdict(small, "knows-the-data", loader=rows_of(small, STORY[:400])) == "not applicable"


def test_rows_filled_up_with_the_unknown_token():
    chars = Characters()
    filled = [torch.nn.functional.pad(row, (3, 40)) for row in rows_of(chars, STORY)]
    assert verdict(chars, "knows-the-data", loader=filled) == "holds"
    padding = broken(Characters, pad_id=0)
    assert verdict(padding, "knows-the-data", loader=filled) == "not applicable"


def test_words_that_a_tokenizer_of_words_does_not_know():
    class Words:
        unk_id, table = 0, ["?", *string.ascii_lowercase, "the", "fox"]
        vocab_size = len(table)

        def encode(self, text):
            return [self.table.index(w) if w in self.table else 0 for w in text.lower().split()]

        def decode(self, ids):
            return " ".join(self.table[i] for i in ids)

    data = rows_of(Words(), STORY * 6)
    assert verdict(Words(), "knows-the-data", loader=data) == "not applicable"


def test_laws_of_data_do_not_move_the_loader():
    rows = iter(rows_of(Characters(), STORY))
    judged(Characters(), loader=rows)
    assert len(list(rows)) == len(rows_of(Characters(), STORY))


def test_special_tokens_that_cannot_be_shown():
    hiding = broken(decode=lambda self, ids, skip_special=True: Bytes.decode(self, ids))
    assert verdict(hiding, "skips-when-asked") == "broken"


def test_a_role_that_the_owner_declares():
    class Bare(Bytes):
        bos_id = eos_id = None

        def encode(self, text, bos=False):
            return [7] * bos + Bytes.encode(self, text)

    assert verdict(Bare(), "begin-and-end") == "not applicable"
    assert verdict(Bare(), "begin-and-end", claims=Claims(bos_id=7)) == "holds"


def test_a_tokenizer_that_cannot_be_spoken_to():
    assert {str(r.verdict) for r in judged(random.Random()).values()} <= {"not applicable", "not checked"}
