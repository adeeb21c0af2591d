"""`trueformer check` as a user meets it: exit statuses, files, and one clear line for each mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trueformer.cli import main

PARTS = "\n\ndef parts(model):\n    return {parts}\n"


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that a mistake gives; nothing was examined."""
    assert main(["check", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    said = err.strip().splitlines()
    assert len(said) == 1, err
    assert said[0].startswith("trueformer: ")
    return said[0]


def test_0_where_nothing_is_broken(planted, capsys: pytest.CaptureFixture):
    assert main(["check", planted(), "--only", "attention"]) == 0
    out = capsys.readouterr().out
    assert "attention" in out
    assert "✗" not in out


def test_1_where_a_law_is_broken(planted, capsys: pytest.CaptureFixture):
    target = planted("return self.head(self.wte(ids).flip(1).cumsum(1).flip(1))")
    assert main(["check", target, "--only", "attention/causal"]) == 1
    out = "".join(capsys.readouterr().out.split())
    assert "attention/causalbroken" in out
    assert f"trueformercheck{target}--onlyattention/causal" in out.replace("│", "")


def test_2_where_no_law_could_be_run(planted):
    assert main(["check", planted("raise RuntimeError('never')"), "--only", "attention/rows"]) == 2


def test_the_files_that_are_asked_for_are_written(planted, tmp_path: Path, capsys: pytest.CaptureFixture):
    kinds = ("html", "json", "sarif", "junit")
    paths = {kind: tmp_path / "out" / "deep" / f"report.{kind}" for kind in kinds}
    words = [word for kind, path in paths.items() for word in (f"--{kind}", str(path))]
    assert main(["check", planted("raise KeyError('x')"), "--only", "attention/rows", *words]) == 2
    assert "KeyError" in paths["html"].read_text()
    assert json.loads(paths["json"].read_text())["results"][0]["verdict"] == "crashed"
    assert ElementTree.parse(paths["junit"]).find(".//error") is not None
    place = json.loads(paths["sarif"].read_text())["runs"][0]["results"][0]["locations"][0][
        "physicalLocation"
    ]
    assert place["artifactLocation"]["uri"].endswith("planted_model.py")
    assert place["region"]["startLine"] == 19
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == sorted(
        p.name for p in paths.values()
    )
    assert str(paths["html"]) in capsys.readouterr().out


def test_t25_a_file_that_cannot_be_written_is_told_before_the_model_is_loaded(
    planted, tmp_path: Path, capsys: pytest.CaptureFixture
):
    target = planted(more=f"\nopen({str(tmp_path / 'loaded')!r}, 'w').close()\n")
    (tmp_path / "file").write_text("x")
    said = refused(capsys, target, "--json", str(tmp_path / "file" / "report.json"))
    assert "cannot write" in said
    assert "cannot write" in refused(capsys, target, "--html", str(tmp_path))
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("only", "meant"),
    [("attention/casual", "attention/causal"), ("causal", "attention/causal"), ("postion", "position")],
)
def test_an_unknown_law_is_told_before_the_model_is_loaded(
    only: str, meant: str, capsys: pytest.CaptureFixture
):
    assert f"did you mean {meant}?" in refused(capsys, "no_such_file.py:build", "--only", only)


@pytest.mark.parametrize("claim", ["colour=1", "scale", "scale=", "scale=big", "=1"])
def test_a_bad_claim(planted, claim: str, capsys: pytest.CaptureFixture):
    said = refused(capsys, planted(), "--claim", claim)
    assert f"--claim {claim}" in said
    assert "expected" in said


def test_a_claim_is_used(planted, capsys: pytest.CaptureFixture):
    assert main(["check", planted(), "--only", "attention/scale", "--claim", "scale=1.0"]) == 1
    assert main(["check", planted(), "--only", "attention/scale", "--claim", "scale=0.25"]) == 0


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture):
    assert "there is no file no_such_file.py" in refused(capsys, "no_such_file.py:build")
    assert "there is no module 'no_such_package'" in refused(capsys, "no_such_package:build")
    assert "names nothing to call" in refused(capsys, "mymodel.py")


def test_a_name_that_is_not_in_the_file(planted, capsys: pytest.CaptureFixture):
    said = refused(capsys, planted().replace(":build", ":built"))
    assert "has no 'built'" in said
    assert "build" in said.split("it has")[1]


def test_a_build_that_raises_is_told_with_its_line(planted, capsys: pytest.CaptureFixture):
    target = planted(more="\n\ndef build():\n    return {}['n_head']\n")
    said = refused(capsys, target)
    assert "KeyError: 'n_head'" in said
    assert "planted_model.py:" in said
    assert "return {}['n_head']" in said
    path = Path(target.removesuffix(":build"))
    path.write_text("def build(config):\n    pass\n")
    assert "missing 1 required positional argument: 'config'" in refused(capsys, target)


@pytest.mark.parametrize("given", ["None", "42", "[build]"])
def test_a_build_that_gives_no_model(planted, given: str, capsys: pytest.CaptureFixture):
    said = refused(capsys, planted(more=f"\n\ndef build():\n    return {given}\n"))
    assert "expected an nn.Module" in said


def test_a_file_that_is_no_python(planted, capsys: pytest.CaptureFixture):
    said = refused(capsys, planted(more="\ndef broken(:\n"))
    assert re.search(r"planted_model.py:\d+: SyntaxError: ", said)
    assert "called by the probe" not in said


def test_a_file_that_raises_or_leaves_when_it_is_imported(planted, capsys: pytest.CaptureFixture):
    assert "ZeroDivisionError" in refused(capsys, planted(more="\n1 / 0\n"))
    assert "No module named 'no_such_thing'" in refused(capsys, planted(more="\nimport no_such_thing\n"))
    assert "__main__" in refused(capsys, planted(more="\nraise SystemExit(0)\n"))


def test_parts_that_cannot_be_had(planted, capsys: pytest.CaptureFixture):
    for parts, words in (("42", "expected a dictionary"), ("{'lost': 1}", "there is no part 'lost'"),
                         ("{'claims': {'colour': 1}}", "there is no claim 'colour'"),
                         ("{}['x']", "KeyError: 'x'")):  # fmt: skip
        target = planted(more=PARTS.format(parts=parts))
        assert words in refused(capsys, target, "--train", target.replace(":build", ":parts"))


def test_parts_are_used_and_stand_in_the_command_that_runs_it_again(planted, capsys: pytest.CaptureFixture):
    target = planted(more=PARTS.format(parts="{'claims': {'scale': 1.0}}"))
    train = target.replace(":build", ":parts")
    assert main(["check", target, "--train", train, "--only", "attention/scale"]) == 1
    said = "".join(capsys.readouterr().out.replace("│", "").split())
    assert f"--train{train}--onlyattention/scale" in said


def test_interrupted_leaves_with_130(planted):
    target = planted("raise KeyboardInterrupt")
    assert main(["check", target, "--only", "attention/rows"]) == 130


def test_a_whole_run_in_a_process_of_its_own(planted):
    """As it is typed: no warning, no traceback, nothing on standard error where it is no terminal."""
    command = [sys.executable, "-m", "trueformer", "check", planted(), "--only", "attention", "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "✓ attention/causal" in done.stdout
