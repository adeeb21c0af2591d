"""pyproject.toml: which rules run where, and what is refused."""

from pathlib import Path

import pytest

from trueformer.doctor.lint.config import LintConfig, read_config
from trueformer.doctor.lint.files import find
from trueformer.doctor.lint.rule import RULES

LOAD, SAVE = "source/unsafe-load", "source/in-place-save"


def ids(config: LintConfig, path: str = "a.py") -> set[str]:
    """The rules that run on a file."""
    return {rule.id for rule in config.rules(Path(path))}


def test_without_a_table_every_rule_runs(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert ids(read_config(tmp_path)) == set(RULES)


def test_the_nearest_file_above_decides(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(f"[tool.trueformer.lint]\nselect = ['{LOAD}', '{SAVE}']\n")
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    (below / "a.py").touch()
    assert ids(read_config(below / "a.py")) == {LOAD, SAVE}
    (below / "pyproject.toml").write_text(f"[tool.trueformer.lint]\nignore = ['{LOAD}']\n")
    assert ids(read_config(below)) == set(RULES) - {LOAD}


def test_some_files_are_excepted_from_some_rules(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(
        f"[tool.trueformer.lint]\nexclude = ['third_party', 'old_*.py']\n"
        f"per-file-ignores = {{ 'tests/*' = ['{SAVE}'] }}\n"
    )
    config = read_config(tmp_path)
    assert ids(config, str(tmp_path / "tests" / "test_a.py")) == set(RULES) - {SAVE}
    assert ids(config, str(tmp_path / "tests" / "deep" / "test_a.py")) == set(RULES) - {SAVE}
    assert ids(config, str(tmp_path / "src" / "a.py")) == set(RULES)
    for name in ("a.py", "old_a.py", "third_party/b.py", "src/third_party/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find([tmp_path], config.exclude, config.root)] == ["a.py"]


def test_folders_above_the_root_do_not_matter(tmp_path: Path):
    root = tmp_path / "tests" / "third_party" / "project"
    (root / "third_party").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        f"[tool.trueformer.lint]\nexclude = ['third_party']\nper-file-ignores = {{ 'tests' = ['{SAVE}'] }}\n"
    )
    (root / "a.py").touch()
    (root / "third_party" / "b.py").touch()
    config = read_config(root)
    assert [path.name for path in find([root], config.exclude, config.root)] == ["a.py"]
    assert ids(config, str(root / "a.py")) == set(RULES)


def test_the_command_line_selects_instead_and_ignores_as_well():
    config = LintConfig(select=(LOAD,), ignore=(SAVE,))
    assert ids(config.but(select=(SAVE, "source/zero-grad"), ignore=())) == {"source/zero-grad"}
    assert ids(config.but(select=(), ignore=(LOAD,))) == set()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("selekt = []", "selekt"),
        ("select = ['source/unsafe-lode']", "no source rule source/unsafe-lode"),
        ("select = 'source/unsafe-load'", "expected a list of strings"),
        ("ignore = [3]", "expected a list of strings"),
        ("per-file-ignores = ['tests']", "expected a table"),
        ("per-file-ignores = { 'tests/*' = ['a/b'] }", "no source rule a/b"),
        ("select = [", "not understood"),
    ],
)
def test_a_mistake_is_refused_and_named(table: str, said: str, tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(f"[tool.trueformer.lint]\n{table}\n")
    with pytest.raises(ValueError, match=said):
        read_config(tmp_path)


def test_a_table_of_another_shape_is_refused(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    with pytest.raises(ValueError, match="not understood"):
        read_config(tmp_path)
