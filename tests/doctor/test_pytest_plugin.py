"""The pytest plugin in real pytest runs, in processes of their own, loaded by its entry point."""

import os
import tomllib
from pathlib import Path

import pytest

import trueformer
from trueformer.doctor.report import LawBroken, Report
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.pytest_plugin import assert_lawful

pytest_plugins = ["pytester"]
assert assert_lawful  # the fixture, also where the package was installed before it had a plugin
ROOT = Path(__file__).parent.parent.parent
LEAK = "return self.head(self.wte(ids).flip(1).cumsum(1).flip(1))"
ONLY = "--only attention/causal attention/rows attention/window"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, planted):
    """pytest in a folder with a sound model, a leaking one, and one test that passes; the plugin is installed."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    installed = pytester.path / "installed" / f"trueformer-{trueformer.__version__}.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Name: trueformer\nVersion: {trueformer.__version__}\n")
    (installed / "entry_points.txt").write_text(
        "\n".join(["[pytest11]", *(f"{n} = {p}" for n, p in points.items())])
    )
    source = str(Path(trueformer.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed.parent), source]))
    for name, line in {"sound.py": "", "leak.py": LEAK}.items():
        (pytester.path / name).write_text(Path(planted(line).removesuffix(":build")).read_text())
    pytester.makepyfile(test_one="def test_one(): pass")

    def run(*words: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*words, timeout=120)

    return run


def test_a_test_a_law(run):
    done = run("--trueformer", f"leak.py:build {ONLY}", "-v", "-rs")
    done.assert_outcomes(passed=1, failed=1, skipped=2)
    assert done.ret == 1
    done.stdout.fnmatch_lines_random(
        [
            "*leak.py:build::attention/causal FAILED*",
            "*leak.py:build::attention/window SKIPPED (not applicable: *",
            "attention/causal broken: measured *, expected at most 1e-05*",
            "*usual causes*",
            "*again*trueformer check leak.py:build --only attention/causal*",
        ]
    )
    assert "Traceback" not in done.stdout.str()


@pytest.mark.slow
def test_sound_models_pass_over_several_workers(run):
    done = run("--trueformer", "sound.py:build --only attention", "-n", "2", "-m", "trueformer")
    outcomes = done.parseoutcomes()
    assert set(outcomes) <= {"passed", "skipped"}
    assert outcomes["passed"] >= 8
    assert done.ret == 0


def test_targets_of_the_project_belong_to_runs_of_the_whole_suite(run, pytester: pytest.Pytester):
    pytester.makeini(
        "[pytest]\ntrueformer_targets =\n  leak.py:build --only attention/causal\n  sound.py:build --only attention/rows"
    )
    run("-k", "causal or one").assert_outcomes(passed=1, failed=1, deselected=1)
    run("test_one.py").assert_outcomes(passed=1)


def test_training_parts_come_by_an_option_of_their_own(run, pytester: pytest.Pytester):
    (pytester.path / "mine.py").write_text("def parts(): return {'claims': {'scale': 1.0}}\n")
    run("--trueformer", "sound.py:build --only attention/scale", "--trueformer-train", "mine.py:parts", "-m",
        "trueformer").assert_outcomes(failed=1, deselected=1)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [("sound.py:build --only casual", "no law or component 'casual'"), ("sound.py:build --colour", "cannot read"),
     ("sound.py:build --html a.html", "asks for a file")],
)  # fmt: skip
def test_a_mistake_in_the_words_is_told_at_once(run, words: str, said: str):
    done = run("--trueformer", words)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr.str()
    assert "Traceback" not in done.stderr.str()


def test_a_model_that_cannot_be_had_fails_in_one_line(run):
    done = run("--trueformer", f"nothing.py:build {ONLY}", "-m", "trueformer")
    done.assert_outcomes(failed=3, deselected=1)
    done.stdout.fnmatch_lines(["there is no file nothing.py*"])
    assert "Traceback" not in done.stdout.str()


def test_the_fixture_in_a_test_of_somebody_s(run, pytester: pytest.Pytester):
    pytester.makepyfile(
        test_mine="""
        import leak, sound

        def test_sound(assert_lawful):
            assert assert_lawful(sound.build(), only=["attention/causal"]).exit_status == 0

        def test_leak(assert_lawful):
            assert_lawful(leak.build(), only=["attention/causal"])
        """
    )
    done = run("test_mine.py", "-p", "no:cacheprovider", "-o", "pythonpath=.")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*LawBroken: Model breaks 1 law:", "*usual causes*"])


def test_loading_the_plugin_imports_nothing_heavy(run, pytester: pytest.Pytester):
    pytester.makepyfile(
        test_one="""
        import sys

        def test_light():
            assert "trueformer.pytest_plugin" in sys.modules
            assert not {"torch", "numpy", "rich", "tyro", "trueformer.doctor"} & set(sys.modules)
        """
    )
    run("test_one.py", "-p", "no:jaxtyping", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


# Our own models, by our own plugin


def small() -> DecoderLM:
    return DecoderLM(DecoderConfig(vocab_size=61, n_layers=2, d_model=32, n_heads=4, max_len=32))


def test_the_default_decoder_is_lawful(assert_lawful):
    report: Report = assert_lawful(small(), only=["attention", "position"])
    assert len(report.results) > 20


def test_the_fixture_tells_of_a_law_that_a_change_breaks(assert_lawful, request: pytest.FixtureRequest):
    model = small()
    model.blocks[0].register_forward_hook(lambda block, given, out: out + out.mean(1, keepdim=True))
    with pytest.raises(LawBroken, match="attention/causal broken: measured"):
        assert_lawful(model, only=["attention/causal"])
    assert any("usual causes" in text for _, _, text in request.node._report_sections)
