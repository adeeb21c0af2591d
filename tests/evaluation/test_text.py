"""What a model is measured on: its own split, found again, or other text."""

import shutil
from pathlib import Path

import pytest

from trueformer.data.config import DataConfig
from trueformer.data.shards import prepare
from trueformer.evaluation.text import validation_split, whole_text
from trueformer.models.config import DecoderConfig
from trueformer.training.config import RunConfig
from trueformer.training.run_folder import describe_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    source = tmp_path / "notes"
    source.mkdir()
    for i in range(30):
        (source / f"{i}.txt").write_text(f"note {i}: the fox saw hen number {i * i}\n")
    data = DataConfig(source=str(source), tokenizer="char", seq_len=8, cache=str(tmp_path / "cache"))
    tokenizer = prepare(data).tokenizer
    model = DecoderConfig(vocab_size=tokenizer.vocab_size, max_len=8, d_model=8, n_layers=1, n_heads=1)
    folder = tmp_path / "run"
    folder.mkdir()
    describe_run(folder, RunConfig(model=model, data=data), tokenizer)
    return folder


def test_a_run_finds_its_own_split_again(run: Path, tmp_path: Path):
    data = DataConfig(
        source=str(tmp_path / "notes"), tokenizer="char", seq_len=8, cache=str(tmp_path / "cache")
    )
    prepared = prepare(data)
    tokens, found = validation_split(run, prepared.tokenizer)
    assert (tokens.fingerprint, found) == (prepared.validation.fingerprint, data)


def test_text_that_has_changed_since_is_not_measured_in_its_place(run: Path, tmp_path: Path):
    before = prepare(
        DataConfig(source=str(tmp_path / "notes"), tokenizer="char", cache=str(tmp_path / "cache"))
    )
    for file in (tmp_path / "notes").iterdir():
        file.write_text(file.read_text() + "¡nuevo!\n")
    with pytest.raises(ValueError, match="has changed since"):
        validation_split(run, before.tokenizer)


def test_a_folder_without_a_run_is_refused(run: Path, tmp_path: Path):
    before = prepare(
        DataConfig(source=str(tmp_path / "notes"), tokenizer="char", cache=str(tmp_path / "cache"))
    )
    shutil.rmtree(run)
    with pytest.raises(ValueError, match="no run folder"):
        validation_split(run, before.tokenizer)


def test_whole_text_counts_every_byte_of_every_source(run: Path, tmp_path: Path):
    prepared = prepare(
        DataConfig(source=str(tmp_path / "notes"), tokenizer="char", cache=str(tmp_path / "cache"))
    )
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("the fox\n")
    two.write_text("the hen\n")
    tokens = whole_text([str(one), str(two)], prepared.tokenizer)
    assert (tokens.n_documents, tokens.n_bytes, tokens.n_tokens) == (2, 16, 18)
    one.write_text("")
    with pytest.raises(ValueError, match=r"one\.txt"):
        whole_text([str(one)], prepared.tokenizer)
