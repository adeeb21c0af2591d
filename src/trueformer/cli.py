"""The command line: parse, call, and turn a user's mistake into one clear line.

Leaves out all logic: each command is a file in `commands/`. Run as `trueformer` or `python -m trueformer`.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from tyro.conf import subcommand

from trueformer.commands.chat import Chat
from trueformer.commands.check import Check
from trueformer.commands.convert import Export, Import
from trueformer.commands.data import Data
from trueformer.commands.evaluate import Eval
from trueformer.commands.explain import Explain
from trueformer.commands.finetune import Finetune
from trueformer.commands.generate import Generate
from trueformer.commands.hunt import Hunt
from trueformer.commands.info import Info
from trueformer.commands.lint import Lint
from trueformer.commands.serve import Serve
from trueformer.commands.train import Train

MISTAKE = 2
Command = (
    Annotated[Train, subcommand("train")]
    | Annotated[Finetune, subcommand("finetune")]
    | Annotated[Generate, subcommand("generate")]
    | Annotated[Chat, subcommand("chat")]
    | Annotated[Serve, subcommand("serve")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Explain, subcommand("explain")]
    | Annotated[Hunt, subcommand("hunt")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Lint, subcommand("lint")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        return _parse(argv).run()
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        if "TRUEFORMER_TRACEBACK" in os.environ:
            raise
        print(f"trueformer: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parse(argv: Sequence[str] | None) -> Command:
    return tyro.cli(
        Command,
        prog="trueformer",
        description="Train small transformer language models you can trust.",
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
