"""`trueformer explain`: what the laws are, and the lesson of each."""

from dataclasses import dataclass

import tyro


@dataclass(frozen=True, kw_only=True, slots=True)
class Explain:
    """List every law, or tell the lesson of one: why it matters, how it is broken, a worked example.

    Try:
      trueformer explain
      trueformer explain attention
      trueformer explain attention/causal
    """

    law: tyro.conf.Positional[str] = ""
    """The id of a law, or a component; every law without it."""

    def run(self) -> int:
        """Prints it and returns 0."""
        from rich.console import Console

        from trueformer.doctor.explain import explained

        console = Console()
        console.print(explained(self.law), width=min(110, console.width))
        return 0
