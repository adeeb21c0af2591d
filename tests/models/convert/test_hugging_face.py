"""Folders out and in again: bit for bit, whole or not at all, and what is wrong with a folder is named."""

import dataclasses
import json
from pathlib import Path

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.hugging_face import export_hugging_face, import_hugging_face
from trueformer.tokenization.bpe import ByteBPE, train_bpe

TOKENIZER = train_bpe(["the cat sat on the mat\n"] * 3, 280)
SIZES = {"vocab_size": TOKENIZER.vocab_size, "max_len": 64, "d_model": 32, "n_layers": 2, "n_heads": 4}
BIASED = {"attention_bias": True, "feed_forward_bias": True}
GPT2 = {"positions": "learned", "norm": "layernorm", "qk_norm": False, "feed_forward": "gelu_tanh"}
CONFIGS = {
    "qwen3": DecoderConfig(**SIZES, n_kv_heads=2),
    "qwen3-untied-window": DecoderConfig(**SIZES, tied=False, window=7, attention_bias=True),
    "llama": DecoderConfig(**SIZES, n_kv_heads=1, head_dim=6, qk_norm=False, **BIASED),
    "gpt2": DecoderConfig(**SIZES, **GPT2, **BIASED),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_out_and_in_is_the_same_bit_for_bit(name: str, dtype: torch.dtype, shaken, tmp_path: Path) -> None:
    model = shaken(CONFIGS[name]).to(dtype)
    folder = export_hugging_face(model, TOKENIZER, tmp_path / "out", chat_template="{{ x }}")
    loaded = import_hugging_face(folder, dtype=dtype)
    assert loaded.config == CONFIGS[name]
    assert loaded.source == str(folder)
    assert {path.stat().st_mode for path in folder.iterdir()} == {(folder / "config.json").stat().st_mode}
    assert loaded.chat_template == "{{ x }}"
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.fingerprint == TOKENIZER.fingerprint
    assert not loaded.model.training
    found = dict(loaded.model.named_parameters())
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], parameter), name
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(loaded.model(ids), model(ids)), "tables are made again as they were"


def test_weights_become_float32_unless_asked(shaken, tmp_path: Path) -> None:
    model = shaken(CONFIGS["qwen3"])
    folder = export_hugging_face(model, None, tmp_path / "out", dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    loaded = import_hugging_face(folder)
    assert loaded.tokenizer is None
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert torch.equal(loaded.model.embedding.weight, model.embedding.weight.half().float())


def test_interleaved_rotary_goes_out_as_halves_and_computes_the_same(shaken, tmp_path: Path) -> None:
    model = shaken(dataclasses.replace(CONFIGS["qwen3"], rope_layout="interleaved"))
    loaded = import_hugging_face(export_hugging_face(model, None, tmp_path / "out"))
    assert loaded.config.rope_layout == "half"
    ids = torch.arange(40)[None]
    with torch.no_grad():
        difference = (loaded.model(ids) - model(ids)).abs().max().item()
    assert 0 < difference < 1e-5, "float32 sums in another order: near, and not the same computation"


def test_a_folder_with_contents_is_not_written_into(shaken, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_hugging_face(shaken(CONFIGS["qwen3"]), None, tmp_path / "out")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        export_hugging_face(shaken(CONFIGS["qwen3"]), None, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        export_hugging_face(shaken(CONFIGS["qwen3"]), None, tmp_path / "file")


def test_a_failed_export_leaves_nothing_behind(shaken, tmp_path: Path) -> None:
    class Full(ByteBPE):
        def save(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    tokenizer = Full(TOKENIZER.library, bos=0, eos=1, pad=2)
    with pytest.raises(OSError, match="No space left"):
        export_hugging_face(shaken(CONFIGS["qwen3"]), tokenizer, tmp_path / "out")
    with pytest.raises(ValueError, match="window is 3"):
        export_hugging_face(shaken(dataclasses.replace(CONFIGS["llama"], window=3)), None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def change(folder: Path, name: str, **values: object) -> None:
    found = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(found | values))


@pytest.fixture
def folder(shaken, tmp_path: Path) -> Path:
    return export_hugging_face(shaken(CONFIGS["qwen3"]), TOKENIZER, tmp_path / "out")


def test_t10_weights_of_another_shape_are_refused_by_name(folder: Path) -> None:
    change(folder, "config.json", intermediate_size=64)
    message = r"model\.layers\.0\.mlp\.gate_proj\.weight is \[96, 32\], expected \[64, 32\]"
    with pytest.raises(ValueError, match=message):
        import_hugging_face(folder)
    change(folder, "config.json", intermediate_size=96, model_type="llama")
    with pytest.raises(ValueError, match=r"q_norm\.weight \[8\] is not part of this model"):
        import_hugging_face(folder)


def test_t15_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    train_bpe(["a text with many other words in it, and longer"] * 3, 330).save(folder / "tokenizer.json")
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens and the model embeds \d+"):
        import_hugging_face(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 10**12}, "1000000000000 layers are configured and the weights are 24 tensors"),
        ({"max_position_embeddings": 10**12}, "1000000000000 positions are configured, expected at most"),
        (
            {"hidden_size": 2**40, "head_dim": 8},
            r"embed_tokens\.weight is \[\d+, 32\], expected \[\d+, 1099511627776\]",
        ),
        ({"vocab_size": 2**50}, r"embed_tokens\.weight is"),
    ],
)
def test_r15_a_config_cannot_ask_for_more_memory_than_the_weights_fill(values, message, folder: Path) -> None:
    change(folder, "config.json", **values)
    with pytest.raises(ValueError, match=message):
        import_hugging_face(folder)


def rewrite(folder: Path, **tensors: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | tensors, path)


def test_a_tied_head_that_is_stored_too_must_be_the_embedding(folder: Path) -> None:
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    rewrite(folder, **{"lm_head.weight": embedding.clone()})
    assert import_hugging_face(folder).model.head is None
    rewrite(folder, **{"lm_head.weight": embedding + 1})
    with pytest.raises(ValueError, match=r"tie_word_embeddings is true and lm_head\.weight differs"):
        import_hugging_face(folder)


def test_buffers_of_older_writers_are_passed_over_and_nothing_else(folder: Path) -> None:
    rewrite(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    import_hugging_face(folder)
    rewrite(folder, **{"model.layers.0.self_attn.secret": torch.ones(4)})
    with pytest.raises(ValueError, match=r"self_attn\.secret \[4\] is not part of this model"):
        import_hugging_face(folder)


def test_special_ids_come_from_config_json_where_the_tokenizer_says_none(folder: Path) -> None:
    """As in OpenAI's gpt2, whose tokenizer_config.json names no token."""
    library = tokenizers.Tokenizer.from_str(TOKENIZER.library.to_str())
    library.post_processor = tokenizers.processors.ByteLevel()
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    change(folder, "config.json", bos_token_id=None, eos_token_id=[1, 2], pad_token_id=None)
    tokenizer = import_hugging_face(folder).tokenizer
    assert tokenizer is not None
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 1, 1)
    assert not tokenizer.adds_bos
    change(folder, "config.json", eos_token_id=None)
    with pytest.raises(ValueError, match="does not say which tokens are BOS and EOS"):
        import_hugging_face(folder)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"chat_template": "a"}, "a"),
        ({"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}, "d"),
        ({"chat_template": [{"name": "tool", "template": "t"}]}, None),
        ({"chat_template": None}, None),
    ],
)
def test_chat_templates_in_every_place_are_found(values: dict, found: str | None, folder: Path) -> None:
    change(folder, "tokenizer_config.json", **values)
    assert import_hugging_face(folder).chat_template == found
    (folder / "chat_template.jinja").write_text("its own file")
    assert import_hugging_face(folder).chat_template == "its own file"


@pytest.mark.parametrize(
    "contents", ["[]", "{", '{"eos_token": 5}', '{"eos_token": {}}', '{"chat_template": 5}']
)
def test_a_damaged_tokenizer_config_is_a_value_error(contents: str, folder: Path) -> None:
    library = tokenizers.Tokenizer.from_str(TOKENIZER.library.to_str())
    library.post_processor = tokenizers.processors.ByteLevel()
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(contents)
    change(folder, "config.json", bos_token_id=None, eos_token_id=None)
    with pytest.raises(ValueError, match="tokenizer"):
        import_hugging_face(folder)


class Seen(TorchFunctionMode):
    """Names of the torch functions called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def test_loading_draws_no_random_weights(folder: Path) -> None:
    """It would be wasted, and on the meta device it imports torch._dynamo, which takes seconds."""
    with Seen() as seen:
        import_hugging_face(folder)
    assert "copy_" in seen.names, "what is called is seen"
    assert not {"normal_", "uniform_", "kaiming_uniform_"} & seen.names
