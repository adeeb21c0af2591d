"""A tokenizer that is saved and loaded is the same. Part of `tokenizer.py`."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trueformer.laws.counted import none_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import ENGLISH, Speech, asked, blocks, speech_of
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject


@law(
    "tokenizer/saved",
    statement="A tokenizer that is saved and loaded encodes as before.",
    source="T15 of the catalogue of defects",
    looks="Saves it, loads it by its own method, and compares ids and texts of the samples.",
    tolerance="0 texts may differ.",
    symptoms="A fluent model that writes gibberish: its ids mean other pieces now.",
    causes="Special tokens, merges or their order not saved; a table rebuilt from a set or from range(vocab_size).",
    needs=("tokenizer",),
)
def saved(subject: Subject) -> Evidence:
    """`{c: i for i, c in enumerate(set(text))}` has another order in each process; `sorted(set(text))` has not."""
    speech = speech_of(subject)
    with tempfile.TemporaryDirectory() as folder:
        again = Speech(_saved_and_loaded(subject.tokenizer, Path(folder)))
    texts = [ENGLISH, *blocks()[::16], *speech.special]
    wrong = [text for text in texts if _spoken(speech, text) != _spoken(again, text)]
    saw = (
        f"{wrong[0][:30]!r} is {_spoken(speech, wrong[0])}, then {_spoken(again, wrong[0])}" if wrong else ""
    )
    return none_of(len(wrong), unit=f"of {len(texts)} texts", saw=saw)


def _spoken(speech: Speech, text: str) -> tuple[list[int], str] | str:
    try:
        ids = speech.encode(text)
    except Exception as error:  # noqa: BLE001 - a refusal is compared like an answer
        return type(error).__name__
    return ids, speech.decode(ids)


def _saved_and_loaded(tokenizer: Any, folder: Path) -> Any:
    """Through whichever pair of methods it has."""
    kind = type(tokenizer)
    pairs: list[tuple[str, str, Path]] = [
        ("save_pretrained", "from_pretrained", folder),
        ("save", "from_file", folder / "tokenizer.json"),
        ("save", "load", folder / "tokenizer.json"),
        ("save", "from_directory", folder),
    ]
    for save, load, place in pairs:
        saver: Callable[..., Any] | None = getattr(tokenizer, save, None)
        loader: Callable[..., Any] | None = getattr(kind, load, None)
        if saver is not None and loader is not None:
            saver(str(place))
            quiet = asked(loader, {"local_files_only": True})
            return loader(str(place), **quiet)
    raise NotApplicable("it has no pair of methods such as save and load")
