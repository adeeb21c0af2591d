"""What a handwritten mutant is: one edit of one sound file, and the component that is then at fault."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COMPONENTS = (
    "attention", "position", "norm", "block", "embedding", "loss", "data", "optimizer", "schedule", "loop",
    "checkpoint", "inference", "tokenizer", "precision",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """Replacing `old`, which occurs once in `file`, by `new` plants the bug.

    `component` is what the first broken law must name; `also` are others that would be as right a name for it.
    `finding` is the reported defect it replays. `crashes` where the bug is an error and not a silent one.
    """

    name: str
    file: str
    old: str
    new: str
    component: str
    finding: str = ""
    also: tuple[str, ...] = ()
    crashes: bool = False

    def source(self, root: Path) -> str:
        """The text of the file with the bug in it.

        Raises:
            ValueError: `old` is not there exactly once.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {text.count(self.old)} places in {self.file} read {self.old!r}; expected 1: "
                "write the mutant anew for the code as it is"
            )
        return text.replace(self.old, self.new)


def of(file: str) -> Callable[..., Mutant]:
    """A function that makes mutants of `file`, named after it."""

    def mutant(
        name: str,
        component: str,
        old: str,
        new: str,
        finding: str = "",
        also: str = "",
        crashes: bool = False,
    ) -> Mutant:
        return Mutant(
            name=f"{Path(file).stem}/{name}",
            file=file,
            old=old,
            new=new,
            component=component,
            finding=finding,
            also=tuple(also.split()),
            crashes=crashes,
        )

    return mutant
