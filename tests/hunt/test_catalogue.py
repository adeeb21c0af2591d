"""Every bug is proved: it breaks what it says and nothing else, it shows, and it is graded as it should be."""

import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.hunt.bug import LEVELS, bug, bugs
from trueformer.hunt.plant import planted, write_sources
from trueformer.hunt.project import PACKAGE, project
from trueformer.hunt.proof import prove, prove_sound
from trueformer.laws.book import laws

# One experiment after the other: sound code is then measured once for all bugs that have the same one.
IDS = sorted(bugs(), key=lambda id: str(bug(id).settings))
WORDS = ("bug", "planted", "hunt", "fixme", "todo", "sabotage")


@pytest.mark.parametrize("id", IDS)
def test_a_bug_is_proved(id):
    assert prove(bug(id), quick=True) == []


@pytest.mark.slow  # every law over every right repair: half an hour for all
@pytest.mark.parametrize("id", IDS)
def test_a_bug_is_proved_by_every_law(id):
    assert prove(bug(id)) == []


def test_the_sound_project_is_left_alone_in_every_kind_of_run():
    kinds = [{"document_mask": True}, *(b.kind for b in bugs().values() if b.kind)]
    assert prove_sound([kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]) == []


@pytest.mark.parametrize("id", IDS)
def test_what_is_planted_looks_like_the_rest(id, tmp_path):
    """Formatted, no new lint, no word that marks it, and laws that exist."""
    sources, sound = planted([bug(id)]), project()
    changed = {name: text for name, text in sources.items() if text != sound[name]}
    assert changed
    package = write_sources(changed, tmp_path / "trueformer")
    settings = ["--config", str(PACKAGE.parent.parent / "pyproject.toml"), "--no-cache", str(package)]
    for words in (["format", "--check", "--diff"], ["check", "--select", "F,E", "--ignore", "F722,F821"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, *settings], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
    for name, text in changed.items():
        new = set(text.splitlines()) - set(sound[name].splitlines())
        assert not [line for line in new if any(word in line.lower() for word in WORDS)]
    assert set(bug(id).laws) <= {law.id for law in laws()}
    assert Path(bug(id).probe).is_file()


def test_every_level_has_cases():
    assert {b.level for b in bugs().values()} == set(LEVELS)
