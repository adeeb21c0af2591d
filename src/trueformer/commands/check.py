"""`trueformer check`: the laws, over anybody's model."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

LIMIT = 60.0
FILES = ("html", "json", "sarif", "junit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Test a PyTorch language model against the laws of transformers, unchanged, with nothing to compare with.

    Try:
      trueformer check mymodel.py:build
      trueformer check mymodel.py:build --train mytrain.py:parts --generate mygen.py:generate
      trueformer check hf:path/to/model
      trueformer check run:runs/shakespeare
    """

    target: tyro.conf.Positional[str]
    """file.py:build (a callable that returns an nn.Module), hf:FOLDER or run:FOLDER."""
    train: str = ""
    """file.py:parts, a callable (of the model) that gives a dictionary of loss, optimizer, loader and so on."""
    generate: str = ""
    """file.py:generate, called with (model, ids, max_new_tokens) and the sampling options it names."""
    vocab_size: int | None = None
    """Ids the model knows; read from the model where it tells."""
    max_len: int | None = None
    """Most tokens the model takes; read from the model where it tells."""
    claim: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")] = field(default_factory=tuple)
    """What is meant to be unusual: scale=1.0, causal=false, rope_base=500000, window=128, pad_id=0, …"""
    only: tuple[str, ...] = ()
    """Laws or components to run."""
    deep: bool = False
    """Also the laws that take minutes."""
    limit: float = LIMIT
    """Seconds that one law may take."""
    all: bool = False
    """List every law, the ones that hold too."""
    html: Path | None = None
    """Also write the report as one HTML file with figures."""
    json: Path | None = None
    """Also write everything as JSON."""
    sarif: Path | None = None
    """Also write what is broken as SARIF 2.1.0, for code hosts."""
    junit: Path | None = None
    """Also write a JUnit XML file with a test case a law."""

    def run(self) -> int:
        """Returns 0 where nothing is broken, 1 where something is, 2 where no law could be run."""
        import dataclasses

        from rich.console import Console

        from trueformer.doctor.files import write_reports
        from trueformer.doctor.progress import progress
        from trueformer.doctor.runner import examine
        from trueformer.doctor.terminal import show
        from trueformer.doctor.written import writable

        files = {kind: path for kind in FILES if (path := getattr(self, kind)) is not None}
        for path in files.values():
            writable(path)
        laws = self.laws()  # a law that does not exist is told before anything is loaded
        with progress(Console(stderr=True), len(laws)) as done:
            report = examine(
                self.subject(), laws, name=self.target, deep=self.deep, limit=self.limit, done=done
            )
        report = dataclasses.replace(report, command=self.command)
        write_reports(report, files)  # first: what reads our output may have gone
        show(report, Console(), everything=self.all)
        for kind, path in files.items():
            print(f"{kind}: {path}")
        return report.exit_status

    def laws(self) -> Any:
        """The laws that are asked for."""
        from trueformer.laws.book import select

        return select(self.only)

    def subject(self) -> Any:
        """The Subject that is named, with its parts."""
        from trueformer.doctor.load import load_subject

        claims = _claims(self.claim)
        return load_subject(
            self.target,
            train=self.train,
            generate=self.generate,
            vocab_size=self.vocab_size,
            max_len=self.max_len,
            claims=claims,
        )

    @property
    def command(self) -> str:
        """What runs this check again, without `--only` and the files to write."""
        options = {
            "train": self.train,
            "generate": self.generate,
            "vocab-size": self.vocab_size,
            "max-len": self.max_len,
        }
        words = ["trueformer", "check", self.target]
        words += [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
        words += ["--claim", *self.claim] if self.claim else []
        words += ["--deep"] if self.deep else []
        words += ["--limit", f"{self.limit:g}"] if self.limit != LIMIT else []
        return shlex.join(words)


def _claims(words: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` pairs as the types that Claims has.

    Raises:
        ValueError: an unknown name, or a value that is no number or truth value.
    """
    from dataclasses import fields

    from trueformer.subject.subject import Claims

    known = {entry.name for entry in fields(Claims)}
    values: dict[str, Any] = {}
    for pair in words:
        name, _, value = pair.partition("=")
        if name not in known or not value:
            raise ValueError(
                f"--claim {pair}: expected NAME=VALUE with a name among {', '.join(sorted(known))}"
            )
        values[name] = _value(pair, value)
    return values


def _value(pair: str, value: str) -> bool | int | float:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise ValueError(f"--claim {pair}: expected a number, true or false") from None
