"""A subject from the words of a command line, and one clear line for whatever goes wrong in the user's own code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any

from trueformer.doctor.check import subject_of
from trueformer.doctor.runner import OURS, told
from trueformer.doctor.target import model_and_parts, named_object, parts_of
from trueformer.subject.subject import Subject


def load_subject(
    target: str,
    *,
    train: str = "",
    generate: str = "",
    vocab_size: int | None = None,
    max_len: int | None = None,
    claims: dict[str, Any] | None = None,
) -> Subject:
    """The model that `target` names, with the parts that `train` and `generate` name; what is said goes first.

    Raises:
        ValueError: it cannot be had; the message is one line, with the line of the user's code.
    """
    with one_line(target):
        model, parts = model_and_parts(target)
    with one_line(train):
        parts |= parts_of(train, model) if train else {}
    with one_line(generate):
        parts |= {"generate": named_object(generate)} if generate else {}
    said = {"vocab_size": vocab_size, "max_len": max_len}
    parts |= {name: value for name, value in said.items() if value is not None}
    parts["claims"] = {**parts.get("claims", {}), **(claims or {})}
    return subject_of(parts.pop("model", model), **parts)


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Errors inside become a ValueError of one line; those that are told well already stay as they are.

    Raises:
        ValueError: names `what`, the error, and the line of the user's code that raised it.
    """
    try:
        yield
    except SystemExit as error:
        raise ValueError(
            f"{what} called sys.exit({error.code!r}) while it was loaded: keep what is not meant to be imported "
            'under `if __name__ == "__main__":`'
        ) from error
    except SyntaxError as error:
        file = Path(error.filename or "?").name
        raise ValueError(
            f"{what} failed: {file}:{error.lineno}: {type(error).__name__}: {error.msg}"
        ) from error
    except Exception as error:
        if isinstance(error, ValueError | ImportError | OSError) and _raised_by_us(error):
            raise
        said, *lines = told(error).splitlines()
        raise ValueError("; ".join([f"{what} failed: {said}", *lines[-1:]])) from error


def _raised_by_us(error: Exception) -> bool:
    return extract_tb(error.__traceback__)[-1].filename.startswith(OURS)
