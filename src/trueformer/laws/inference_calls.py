"""Somebody's generate, called on copies: what the laws of inference share.

What it takes is read from the names of its parameters, what it gives from one call. Part of `inference.py`.
"""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name, read
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject, stirred

OPTIONS = {
    "temperature": ("temperature", "temp"),
    "top_k": ("top_k", "topk", "k"),
    "top_p": ("top_p", "topp", "p", "nucleus"),
    "min_p": ("min_p", "minp"),
    "seed": ("seed", "random_seed"),
    "seeds": ("seeds", "row_seeds"),
    "sample": ("do_sample", "sample"),
    "penalty": ("repetition_penalty", "rep_penalty"),
    "eos": (
        "eos_id",
        "eos_token_id",
        "stop_id",
        "stop_token",
        "eos",
        "eos_token",
        "end_id",
        "stop_ids",
        "eos_ids",
    ),
}
IDS = ("ids", "idx", "prompt", "prompts", "prompt_ids", "input_ids", "tokens", "inputs", "x", "context")
MORE = (
    "max_new_tokens",
    "max_tokens",
    "n_tokens",
    "n_new_tokens",
    "num_tokens",
    "n_new",
    "n",
    "steps",
    "new_tokens",
)
MODEL = ("model", "net", "gpt", "module", "lm", "transformer")
Rows = list[list[int]]


class Writer:
    """Calls the owner's generate with rows of ids, and reads the new tokens of each row from what it gives."""

    def __init__(self, subject: Subject) -> None:
        assert subject.generate is not None
        self.subject, self.function = subject, subject.generate
        self.known = inspect.signature(self.function).parameters
        self.names = {
            kind: next(name for name in names if name in self.known)
            for kind, names in OPTIONS.items()
            if set(names) & set(self.known)
        }
        self.prompts = subject.ids(3, min(5, max(1, subject.length // 2)), seed=3).tolist()
        self.n_new = max(1, min(4, (subject.max_len or 64) - len(self.prompts[0])))
        self.form, self.make = "tensor", self._exact
        self.model = self._tried()
        self.greedy = self._greedy()
        self.batches, self.rows_alike = self._takes_several(), False

    def _tried(self) -> nn.Module:
        """A copy that generate works with, in float64 if it can be; learns in which form it takes ids."""
        errors = []
        for make in (self._exact, self._as_it_is):
            self.make, model = make, make()
            for form in ("tensor", "lists", "list"):
                self.form = form
                try:
                    self.write(model, self.prompts[:1], 1)
                except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
                    errors.append(error)
                else:
                    return model
        raise errors[0]

    def _exact(self) -> nn.Module:
        return lively(copy.deepcopy(self.subject.exact), self.subject.vocab_size or 0)

    def _as_it_is(self) -> nn.Module:
        return stirred(self.subject.copied().eval())

    def _greedy(self) -> dict[str, Any]:
        """The options that ask for the likeliest token each time."""
        ways = [{"sample": False}, {"temperature": 0.0}, {"top_k": 1}, {"temperature": 1e-4}]
        ways = [way for way in ways if set(way) <= set(self.names)]
        for way in ways:
            try:
                self.write(self.model, self.prompts[:1], 2, **way)
            except (RuntimeError, ValueError, ZeroDivisionError, AssertionError):
                continue
            return way
        if set(self.names) & {"temperature", "top_k", "top_p", "seed", "sample"}:
            raise NotApplicable("generate cannot be asked for the likeliest token")
        return {}

    def _takes_several(self) -> bool:
        try:
            return len(self.write(self.model, self.prompts[:2], 1, **self.greedy)) == 2
        except (RuntimeError, TypeError, ValueError, AssertionError, IndexError, NotApplicable):
            return False

    def write(self, model: nn.Module, prompts: Rows, n_new: int, **options: Any) -> Rows:
        """The new tokens of each row, at most `n_new`."""
        return [
            self._new(row, prompt)
            for row, prompt in zip(self.raw(model, prompts, n_new, **options), prompts, strict=False)
        ]

    def raw(self, model: nn.Module, prompts: Rows, n_new: int, luck: int = 0, **options: Any) -> Rows:
        """The rows as generate gives them; `luck` is where torch's own random numbers begin.

        Raises:
            NotApplicable: it gives something else than ids, or asks for what is not known here.
        """
        named = {self.names[kind]: value for kind, value in options.items()}
        offered: dict[str, Any] = dict.fromkeys(MODEL, model) | dict.fromkeys(IDS, self._ids(prompts))
        offered |= dict.fromkeys(MORE, n_new) | {"max_length": len(prompts[0]) + n_new} | named
        spare = [
            names[0]
            for names in (MODEL, IDS, MORE)
            if not set(names) & set(self.known) and names is not MODEL
        ]
        needed = [p.name for p in self.known.values() if p.default is p.empty and p.kind not in (2, 4)]
        unknown = [name for name in needed if name not in offered]
        if len(unknown) > len(spare):
            raise NotApplicable(f"generate asks for {unknown[0]!r}, which is not known here")
        with random_numbers_kept():
            torch.manual_seed(luck)
            return read_rows(call_by_name(self.function, *spare, **offered))

    def heard(self, prompt: list[int], n_new: int) -> tuple[list[int], list[Tensor]]:
        """New tokens, and the logits (V,) that the model said for each; none of these where it is not called whole."""
        said: list[Tensor] = []

        def note(module: nn.Module, given: Any, out: Any) -> None:
            said.append(read(out, torch.zeros(1, 1)).logits[0, -1].clone())

        handle = self.model.register_forward_hook(note)
        try:
            (new,) = self.write(self.model, [prompt], n_new, **self.greedy)
        finally:
            handle.remove()
        return new, said[: len(new)] if len(said) >= len(new) else []

    def _ids(self, prompts: Rows) -> Any:
        if self.form == "list":
            return prompts[0]
        if self.form == "lists" or len({len(row) for row in prompts}) > 1:
            return prompts
        return torch.tensor(prompts, device=self.subject.ids(1, 1).device)

    def _new(self, row: list[int], prompt: list[int]) -> list[int]:
        return row[len(prompt) :] if row[: len(prompt)] == prompt else row

    def default(self, kind: str) -> Any:
        """What an option is when it is not given."""
        return self.known[self.names[kind]].default

    def asked(self, *kinds: str) -> None:
        """Raises NotApplicable unless generate has these options."""
        for kind in kinds:
            if kind not in self.names:
                raise NotApplicable(f"generate has no {kind.replace('_', '-')}")

    def plain(self, **options: Any) -> dict[str, Any]:
        """These options, and those that leave the distribution as it is where the defaults do not."""
        neutral = {
            "temperature": 1.0,
            "sample": True,
            "top_p": 1.0,
            "top_k": None,
            "min_p": 0.0,
            "penalty": 1.0,
        }
        harmless = {"top_k": (None, 0, 50, 40, 100), "top_p": (None, 1, 1.0), "min_p": (None, 0, 0.0)}
        needed = {
            kind: value
            for kind, value in neutral.items()
            if kind in self.names and self.default(kind) not in harmless.get(kind, (value,))
        }
        return needed | options


def lively(model: nn.Module, vocab_size: int) -> nn.Module:
    """The model, with the matrices between embedding and head so large that each product is as large as its input.

    With small first weights a token's logits are little more than those of its own embedding: greedy text goes on
    alike whatever came before, and a cache that forgets it would not show.
    """
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    with torch.no_grad():
        for p in model.parameters():
            between = p.ndim >= 2 and p.is_floating_point() and id(p) not in looked_up
            if between and vocab_size not in p.shape:
                size = float(p.square().mean().sqrt())
                p.mul_(max(1.0, (p.shape[-1] * p.shape[-2]) ** -0.25 / max(size, 1e-30)))
    return model


def read_rows(given: Any) -> Rows:
    """The rows of ids in whatever generate gave."""
    given = getattr(given, "sequences", given)
    if isinstance(given, tuple):
        given = given[0]
    if isinstance(given, str):
        raise NotApplicable("generate gives text: expected ids")
    if isinstance(given, Tensor):
        given = given.tolist()
    rows: list[Any] = [getattr(row, "ids", row) for row in given]
    rows = [row.tolist() if isinstance(row, Tensor) else row for row in rows]
    rows = [rows] if rows and not isinstance(rows[0], list) else rows
    if any(isinstance(i, str) for row in rows for i in row):
        raise NotApplicable("generate gives text: expected ids")
    return [[int(i) for i in row] for row in rows]


def writer_of(subject: Subject) -> Writer:
    """How this subject's generate is called; learnt once."""
    return subject.once("writer", lambda: Writer(subject))
