"""Asks the doctor, and searches: each small change of one line, first where the broken laws point, until they hold.

    python doctor.py DOCTOR     # a folder with the laws, the doctor and the adapter; they know nothing of the stack

A change is kept that makes a broken law hold again and takes nothing from those that hold. It reads neither the report
nor any history. Goes on until nothing is broken, everything is tried, or its time is over: what is kept is in place.
"""

import compileall
import contextlib
import importlib
import inspect
import json
import math
import multiprocessing
import os
import py_compile
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from changes import Change, changes

USUAL = {"document_mask": True}
OTHERS = (  # together they use every part that a model or a run can have
    {
        "optimizer": "muon",
        "tokenizer": "bpe",
        "positions": "learned",
        "norm": "layernorm",
        "feed_forward": "gelu",
        "dropout": 0.1,
        "tied": False,
    },
    {
        "backend": "fast",
        "optimizer": "muon",
        "window": 6,
        "loop": {"precision": "bf16", "parameters": "bf16"},
        "optim": {"lr_vectors": 1e-3},  # next to a norm's 1, less than bf16 can show
    },
    {"optimizer": "adamuon", "positions": "sinusoidal", "attention_sinks": True, "conversations": True},
)
LAW_SECONDS, ALL_SECONDS = 30, 90
Place = tuple[str, int]  # a file and the line at which a function in it begins


@dataclass
class Findings:
    """What laws said of a run: those that hold, those that do not with their seconds, where each of them went."""

    holds: set[str] = field(default_factory=set)
    broken: dict[str, float] = field(default_factory=dict)
    went: dict[str, set[Place]] = field(default_factory=dict)
    built: set[Place] = field(default_factory=set)
    modules: list[str] = field(default_factory=list)


class Patient:
    """A copy of the workspace to try things in; what helps is written to the workspace itself."""

    def __init__(self, tools: Path, copy: Path) -> None:
        shutil.copytree(".", copy, ignore=shutil.ignore_patterns(".git"))
        compileall.compile_dir(copy, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        sys.path.insert(0, str(copy))
        importlib.import_module("trueformer").__path__.append(str(tools / "trueformer"))
        importlib.import_module("trueformer.laws.book").laws()
        importlib.import_module("trueformer.doctor.check")
        self.stack = copy / "trueformer"

    def examine(self, kind: dict[str, Any], only: Sequence[str] = (), *, watch: bool = False) -> Findings:
        """The laws over a small run, in a process of its own; no findings where it does not come to an end.

        `watch`: also where in the stack each law went.
        """
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=self._examined, args=(theirs, kind, only, watch))
        process.start()
        theirs.close()
        try:
            return mine.recv() if mine.poll(ALL_SECONDS) else Findings()
        except EOFError:
            return Findings()
        finally:
            process.kill()
            process.join()

    def _examined(self, answer: Any, kind: dict[str, Any], only: Sequence[str], watch: bool) -> None:
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stderr(nothing):
            answer.send(self._findings(kind, only, watch))

    def _findings(self, kind: dict[str, Any], only: Sequence[str], watch: bool) -> Findings:
        found, ran, root = Findings(), set(), f"{self.stack}/"

        def call(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(root):
                ran.add((frame.f_code.co_filename.removeprefix(root), frame.f_code.co_firstlineno))

        def note(result: Any) -> None:
            if result.verdict == "holds":
                found.holds.add(result.law.id)
            elif result.fails:
                found.broken[result.law.id] = result.seconds
            found.went[result.law.id] = ran.copy()
            ran.clear()

        sys.setprofile(call if watch else None)
        parts = self._run(kind)
        found.built = ran.copy()
        ran.clear()
        check = importlib.import_module("trueformer.doctor.check").check
        select = importlib.import_module("trueformer.laws.book").select
        # What one law has seen of a subject is kept for the next; watched, each has to go the whole way itself.
        for some in [(law.id,) for law in select(only)] if watch else [only]:
            check(**parts, only=some, limit=LAW_SECONDS, done=note)
        sys.setprofile(None)
        found.modules = sorted(sys.modules)
        return found

    def _run(self, kind: dict[str, Any]) -> dict[str, Any]:
        """The small run that the experiments of the workspace make, as the doctor sees it; without words not known."""
        small_run = importlib.import_module("experiment.small").small_run
        config = importlib.import_module("trueformer.models.config").DecoderConfig
        known = {*inspect.signature(small_run).parameters, *inspect.signature(config).parameters}
        of_config = importlib.import_module("trueformer.as_subject").of_config
        torch.manual_seed(0)
        return of_config(*small_run(**{word: value for word, value in kind.items() if word in known}))

    @contextlib.contextmanager
    def changed(self, name: str, source: str) -> Iterator[Callable[[], None]]:
        """With another source in a file; what comes out of it keeps the change for good, here and in the workspace."""
        kept, before = [], (self.stack / name).read_text(encoding="utf-8")
        (self.stack / name).write_text(source, encoding="utf-8")
        try:
            yield lambda: kept.append(Path("trueformer", name).write_text(source, encoding="utf-8"))
        finally:
            if not kept:
                (self.stack / name).write_text(before, encoding="utf-8")


def ranked(stack: Path, seen: Findings, blamed: set[str]) -> list[tuple[str, Change]]:
    """Every change: in the component's files, then in what the blamed laws went through and sound ones did not."""
    stem, worth = _stem(min(blamed)), {}
    for path in sorted(stack.rglob("*.py")):
        name = path.relative_to(stack).as_posix()
        for change in changes(path.read_text(encoding="utf-8")):
            place, named = (name, change.home), stem in name
            score = suspicion(seen, place, blamed)
            worth[name, change] = (named and score > 0, score, place in seen.built, named)
    return sorted(worth, key=lambda one: worth[one], reverse=True)


def _stem(law: str) -> str:
    """What files and folders of the law's component have in their names: "optim" of `optimizer/matrices`."""
    return law.split("/")[0][:5]


def suspicion(seen: Findings, place: Place, blamed: set[str]) -> float:
    """From 0 to 1: how far it is the blamed laws, all of them and no others, that went through a place (Ochiai 1957)."""
    bad = sum(place in seen.went.get(law, ()) for law in blamed)
    good = sum(place in seen.went[law] for law in seen.holds)
    return bad / math.sqrt(len(blamed) * (bad + good) or 1)


def mended(patient: Patient, kind: dict[str, Any], before: Findings) -> Findings | None:
    """After the first change that helps, what the laws say then; none where no change does."""
    component = next(iter(before.broken)).split("/")[0]
    blamed = {law for law in before.broken if law.startswith(f"{component}/")}
    quick = min(blamed, key=lambda law: before.broken[law])
    seen = patient.examine(kind, (component, *before.broken), watch=True)
    print(f"{component} is to blame: {', '.join(before.broken)}", flush=True)
    for name, change in ranked(patient.stack, seen, blamed):
        with patient.changed(name, change.source) as keep:
            if quick not in patient.examine(kind, (quick,)).holds:
                continue
            after = patient.examine(kind)
            if after.holds > before.holds:
                keep()
                print(f"{name}:{change.line}: {change.source.splitlines()[change.line - 1]}", flush=True)
                return after
    return None


def main() -> None:
    """One kind of run after the other, the report's own settings among them."""
    torch.set_num_threads(1)
    settings = json.loads(Path("settings.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        patient = Patient(Path(sys.argv[1]), Path(temporary) / "copy")
        for kind in (USUAL, *({**USUAL, **one} for one in settings), *OTHERS):
            found: Findings | None = patient.examine(kind)
            for name in found.modules if found else ():
                if name.split(".")[0] not in ("trueformer", "experiment", "__main__"):
                    with contextlib.suppress(Exception):
                        importlib.import_module(name)
            while found and found.broken:
                found = mended(patient, kind, found)


if __name__ == "__main__":
    main()
