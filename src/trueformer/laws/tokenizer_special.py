"""Special tokens: where they begin and end a text, and that nobody makes them by typing. Part of `tokenizer.py`."""

from collections.abc import Callable
from typing import Any

from trueformer.laws.counted import evidence_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import (
    TEXTS,
    Speech,
    asked,
    given,
    made_by_text,
    parameters,
    speech_of,
    spoken_roles,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

FLAGS = {
    "bos": ("bos", "add_bos", "prepend_bos", "prepend"),
    "eos": ("eos", "add_eos", "append_eos", "append"),
}


def _with(role: str, token: int, function: Callable[..., Any]) -> dict[str, Any]:
    """The argument that asks for `bos` or `eos`, if the function has one; `prepend` and `append` take the token."""
    flag = next((name for name in FLAGS[role] if name in parameters(function)), None)
    return {} if flag is None else {flag: token if flag in ("prepend", "append") else True}


@law(
    "tokenizer/begin-and-end",
    statement="Begin and end tokens come when asked for, once, and only then.",
    source="N1 of the catalogue of defects",
    looks="Encodes with and without each, alone, and compares with the plain ids between them.",
    tolerance="0 texts may differ.",
    symptoms="Documents run into one another: the model goes on past the end, or never starts afresh.",
    causes="The flag is read on one path only; the token is put at the wrong end, or twice.",
    needs=("tokenizer",),
)
def begin_and_end(subject: Subject) -> Evidence:
    """encode("a", bos=True) is [bos] + encode("a"). A document without it begins in the middle of the last one."""
    speech = speech_of(subject)
    return _framed(
        speech, subject, speech.tokenizer.encode, lambda **flags: [speech.encode(t, **flags) for t in TEXTS]
    )


@law(
    "tokenizer/begin-and-end-in-batches",
    statement="In a batch too, begin and end tokens come when asked for, once, and only then.",
    source="N1 of the catalogue of defects",
    looks="Encodes a batch with and without each, and compares with the plain ids between them.",
    tolerance="0 texts may differ.",
    symptoms="Training data, which is encoded in batches, lacks the token that every prompt begins with.",
    causes="The flag is read for one text only; it is put around the whole batch.",
    needs=("tokenizer",),
)
def begin_and_end_in_batches(subject: Subject) -> Evidence:
    """`if prepend: ids.insert(0, bos)` for one text, and nothing for the rows of a batch."""
    speech = speech_of(subject)
    return _framed(speech, subject, speech.batch_function(), lambda **flags: speech.batch(TEXTS, **flags))


def _framed(speech: Speech, subject: Subject, function: Callable[..., Any], encode: Any) -> Evidence:
    ids = spoken_roles(subject)
    flags = {role: _with(role, i, function) for role, i in ids.items()}
    flags = {role: flag for role, flag in flags.items() if flag}
    if not flags:
        raise NotApplicable("it has no argument such as bos= or eos=, or does not tell the id")
    plain = [speech.encode(text) for text in TEXTS]
    wrong = []
    for role, flag in flags.items():
        for got, bare in zip(encode(**flag), plain, strict=True):
            wanted = [ids[role], *bare] if role == "bos" else [*bare, ids[role]]
            if got != wanted:
                wrong.append(f"asked for {role} (id {ids[role]}): {got[:12]}, without it {bare[:12]}")
    return evidence_of(wrong, unit="texts")


@law(
    "tokenizer/end-apart",
    statement="Ordinary text makes no token that begins or ends a text.",
    source="tiktoken, Encoding(mergeable_ranks, special_tokens): two tables that share no id",
    looks="Encodes all printable characters and some of each block of Unicode, and looks for the ids of begin and end.",
    tolerance="0 ids, where one of the two is out of text's reach; if both are in it, each text is a line or a name.",
    symptoms="Writing stops in the middle of an answer; documents fall apart where they have a line end.",
    causes="An id typed by hand, such as 10; a special token that is in the vocabulary of text as well.",
    needs=("tokenizer",),
)
def end_apart(subject: Subject) -> Evidence:
    """With eos_id = 10 in a tokenizer of bytes, each line end is the end of the text: a list has one line."""
    speech = speech_of(subject)
    roles, typed = spoken_roles(subject), made_by_text(speech)
    wrong = [f"{typed[i]!r} makes {i}, the id of {role}" for role, i in roles.items() if i in typed]
    if len(wrong) == len(roles):
        raise NotApplicable("no token of its own begins or ends a text, as where each text is one line")
    return evidence_of(wrong, unit=f"of {len(roles)} ids")


FORBID = {
    "disallowed_special": (),
    "allowed_special": set(),
    "allow_special": False,
    "split_special_tokens": True,
}


@law(
    "tokenizer/special-text",
    statement="Text that looks like a special token stays text where that is asked for.",
    source="tiktoken, encode(disallowed_special=()); transformers, split_special_tokens",
    looks="Encodes the text of each special token with the argument that forbids it, and looks for its id.",
    tolerance="0 special ids.",
    symptoms="A user types <|endoftext|> or <|assistant|> and takes over the conversation.",
    causes="The argument is not passed on to the tokenizer below.",
    needs=("tokenizer",),
)
def special_text(subject: Subject) -> Evidence:
    """encode("<|eos|>", allow_special=False) is seven ordinary tokens, and never the one that ends a document."""
    speech = speech_of(subject)
    wishes = asked(speech.tokenizer.encode, FORBID)
    wishes |= {"split_special_tokens": True} if hasattr(speech.tokenizer, "split_special_tokens") else {}
    if not wishes:
        raise NotApplicable("it has no argument that makes special tokens text")
    return _special_ids(speech, wishes)


def _special_ids(speech: Speech, wishes: dict[str, Any]) -> Evidence:
    unknown = speech.role("unk")  # any text that is not known makes it
    spelled = {text: i for text, i in speech.special.items() if len(text) > 1 and i != unknown}
    if not spelled:
        raise NotApplicable("it tells of no special tokens")
    found = [(text, i) for text, i in spelled.items() if i in given(speech, f"a {text} b", **wishes)]
    wrong = [f"{text!r} inside a text becomes the id {i}" for text, i in found]
    return evidence_of(wrong, unit=f"of {len(spelled)} special tokens")


@law(
    "tokenizer/special-text-by-default",
    statement="Text that looks like a special token stays text, unless it is asked to be special.",
    source="tiktoken, encode: special text is refused by default",
    looks="Encodes the text of each special token with no further arguments, and looks for its id.",
    tolerance="0 special ids.",
    symptoms="A user types <|endoftext|> and takes over the conversation.",
    causes="The default of transformers and tokenizers; pass split_special_tokens=True for users' text.",
    needs=("tokenizer",),
    advice=True,
)
def special_text_by_default(subject: Subject) -> Evidence:
    """In transformers, tokenizer("<|endoftext|>") is one id. For text from outside ask for the other."""
    return _special_ids(speech_of(subject), {})


SKIPS = ("skip_special_tokens", "skip_special")


@law(
    "tokenizer/skips-when-asked",
    statement="Decoding leaves special tokens out when asked to, and keeps them when not.",
    source="transformers, decode(skip_special_tokens=…)",
    looks="Decodes letters around a special token both ways.",
    tolerance="0 special tokens wrong.",
    symptoms="<|eos|> appears in the chat; or a tool's marker never does.",
    causes="The argument is not passed on.",
    needs=("tokenizer",),
)
def skips_when_asked(subject: Subject) -> Evidence:
    """decode([hello, eos], skip_special=True) is "hello"; with False it shows what the model really wrote."""
    speech = speech_of(subject)
    skip = next((name for name in SKIPS if name in parameters(speech.tokenizer.decode)), None)
    unknown = speech.role("unk")
    special = {text: i for text, i in speech.special.items() if i != unknown}
    if skip is None or not special:
        raise NotApplicable("decode has no argument to skip special tokens, or there are none")
    wrong = []
    for text, i in special.items():
        if text.strip() not in speech.decode([i], **{skip: False}):
            wrong.append(f"{text!r} is not shown with {skip}=False")
        elif text.strip() in speech.decode([i], **{skip: True}):
            wrong.append(f"{text!r} is shown with {skip}=True")
    return evidence_of(wrong, unit=f"of {len(special)}")
