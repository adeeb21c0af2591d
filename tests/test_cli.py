"""The command line as a user meets it: real commands on a small text, and one clear line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import trueformer
from trueformer.cli import main

TEXT = "The fox saw the hen. The hen saw the fox.\n\n" * 200
TINY = (
    "--tokenizer char --seq-len 16 --depth 1 --d-model 16 --n-heads 2 --steps 6 --batch-size 4 --no-compile"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "fox.txt"
    path.write_text("".join(TEXT[:-1] + str(i) + "\n\n" for i in range(9)))
    return path


def options(text: Path, out: Path) -> list[str]:
    return [str(text), *TINY.split(), "--cache", str(text.parent / "cache"), "--out", str(out)]


@pytest.fixture(scope="module")
def run(text: Path) -> Path:
    out = text.parent / "run"
    assert main(["train", *options(text, out)]) == 0
    return out


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that a mistake gives."""
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    return said[0]


def test_public_names_are_there_and_nothing_else():
    assert all(getattr(trueformer, name) for name in trueformer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trueformer.nothing


@pytest.mark.parametrize("command", ["train", "generate", "serve", "eval", "export", "import", "info"])
def test_help_shows_a_command_to_try(command: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"trueformer {command} " in capsys.readouterr().out.split("Try:")[1]


def test_help_needs_no_torch():
    code = "import sys, trueformer.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_folder_holds_config_metrics_figure_and_checkpoint(run: Path):
    assert json.loads((run / "config.json").read_text())["model"]["d_model"] == 16
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((run / "metrics.jsonl").read_text().splitlines()) >= 6
    assert (run / "checkpoints" / "step-00000006" / "model.safetensors").exists()


def test_a_run_generates_the_same_text_for_the_same_seed(run: Path, capsys: pytest.CaptureFixture):
    texts = []
    for seed in ("1", "1", "2"):
        assert main(["generate", str(run), "--prompt", "The", "--max-new-tokens", "9", "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith("The")
    assert texts[0] == texts[1] != texts[2]


def test_a_run_is_measured_on_its_own_split_and_on_other_text(
    run: Path, text: Path, capsys: pytest.CaptureFixture
):
    assert main(["eval", str(run)]) == 0
    assert main(["eval", str(run), str(text)]) == 0
    assert capsys.readouterr().out.count("bits a byte") == 2


def test_a_run_is_described_and_exported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["info", str(run)]) == 0
    assert "tokenizer" in capsys.readouterr().out
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["model_type"] == "qwen3"
    assert main(["import", str(tmp_path / "exported"), str(tmp_path / "imported")]) == 0
    assert main(["generate", str(tmp_path / "imported"), "--max-new-tokens", "2"]) == 0


def test_data_is_listed_prepared_and_shown(text: Path, capsys: pytest.CaptureFixture):
    source = [str(text), "--tokenizer", "char", "--cache", str(text.parent / "cache")]
    assert main(["data", "list"]) == 0
    assert main(["data", "prepare", *source, "--check"]) == 0
    assert main(["data", "show", *source, "--count", "1"]) == 0
    out = capsys.readouterr().out
    assert "shakespeare" in out
    assert "validation" in out
    assert "f│o│x" in out


def test_a_dry_run_prints_every_value_and_trains_nothing(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "never"
    assert main(["train", *options(text, out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    for value in ("lr_matrices", "warmup_steps", "FLOPs a token", "memory", "parameters"):
        assert value in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("extra", "pair"),
    [
        ("--preset gpt2", "--depth and --preset"),
        ("--n-layers 2", "--depth and --n-layers"),
        ("--overwrite --resume", "--resume and --depth"),
        ("--dry-run --prove-resume", "--dry-run and --prove-resume"),
        ("--prove-resume --prove-every-variant", "--prove-resume and --prove-every-variant"),
    ],
)
def test_contradictions_are_refused(extra: str, pair: str, text: Path, capsys: pytest.CaptureFixture):
    said = refused(capsys, "train", *options(text, text.parent / "none"), *extra.split())
    assert f"{pair} contradict each other" in said


def test_r14_sizes_that_cannot_work_are_refused_before_training(text: Path, capsys: pytest.CaptureFixture):
    said = refused(capsys, "train", *options(text, text.parent / "none"), "--batch-size", "-1")
    assert "batch_size is -1" in said
    assert not (text.parent / "none").exists()


def test_a_used_folder_is_refused_and_left_as_it_was(run: Path, text: Path, capsys: pytest.CaptureFixture):
    before = (run / "metrics.jsonl").read_bytes()
    assert "not empty" in refused(capsys, "train", *options(text, run))
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_seed_is_no_resumption(run: Path, text: Path, capsys: pytest.CaptureFixture):
    said = refused(capsys, "train", str(text), "--out", str(run), "--resume", "--seed", "3")
    assert "loop.seed was 1337, now 3" in said


def test_another_run_is_gone_on_with_in_a_new_folder(run: Path, text: Path, tmp_path: Path):
    extra = ["--start-from", str(run), "--steps", "8"]
    with pytest.warns(UserWarning, match="steps changed from 6 to 8"):
        assert main(["train", *options(text, tmp_path / "more"), *extra]) == 0
    events = [json.loads(line) for line in (tmp_path / "more" / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == [7, 8]


def test_a_start_that_is_not_there_or_cannot_be_gone_on_with_is_said(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    train = ["train", *options(text, tmp_path / "more")]
    assert "typo has no checkpoint" in refused(capsys, *train, "--start-from", str(tmp_path / "typo"))
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    assert main(["import", str(tmp_path / "exported"), str(tmp_path / "imported")]) == 0
    capsys.readouterr()
    assert "it was imported" in refused(capsys, *train, "--start-from", str(tmp_path / "imported"))
    assert not (tmp_path / "more").exists()


def test_t25_a_source_that_is_not_there_is_said_at_once(capsys: pytest.CaptureFixture, tmp_path: Path):
    said = refused(capsys, "train", str(tmp_path / "nothing.txt"), "--out", str(tmp_path / "out"))
    assert "nothing.txt" in said


@pytest.mark.parametrize("model", ["nowhere", "--temperature"])
def test_unknown_models_and_options_end_with_code_2(model: str, capsys: pytest.CaptureFixture):
    try:
        code = main(["generate", model])
    except SystemExit as error:  # the parser's own end
        code = error.code
    assert code == 2


def test_t19_a_temperature_below_zero_is_refused(run: Path, capsys: pytest.CaptureFixture):
    assert "temperature is -1.0" in refused(capsys, "generate", str(run), "--temperature", "-1")
