"""`trueformer check`: the laws, over anybody's model."""

import shlex
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro


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
    limit: float = 60.0
    """Seconds that one law may take."""
    all: bool = False
    """List every law, the ones that hold too."""

    def run(self) -> int:
        """Returns 0 where nothing is broken, 1 where something is, 2 where no law could be run."""
        import dataclasses

        from rich.console import Console

        from trueformer.doctor.check import check
        from trueformer.doctor.progress import progress
        from trueformer.doctor.target import model_and_parts, named_object, parts_of
        from trueformer.doctor.terminal import show

        model, parts = model_and_parts(self.target)
        parts |= parts_of(self.train, model) if self.train else {}
        if self.generate:
            parts["generate"] = named_object(self.generate)
        claims = {**parts.pop("claims", {}), **_claims(self.claim)}
        with progress(sys.stderr) as done:
            report = check(
                model,
                vocab_size=self.vocab_size or parts.pop("vocab_size", None),
                max_len=self.max_len or parts.pop("max_len", None),
                claims=claims,
                only=self.only,
                deep=self.deep,
                limit=self.limit,
                name=self.target,
                done=done,
                **parts,
            )
        report = dataclasses.replace(report, command=f"trueformer check {shlex.quote(self.target)}")
        show(report, Console(), everything=self.all)
        return report.exit_status


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
