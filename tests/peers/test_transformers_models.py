"""Against transformers: its random models read by us, and ours read by it, give the same logits in float32.

The bound is 1e-4: both compute in float32 in another order of operations, and transformers makes rotary
frequencies in float32 where ours are made in float64.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, Qwen3Config

from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.models.convert.hugging_face import export_hugging_face, import_hugging_face
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.load import load_tokenizer

BOUND = 1e-4
SMALL = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

THEIRS = {
    "gpt2": GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=2, n_head=4),
    "gpt2-untied-gelu": GPT2Config(
        vocab_size=97,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_inner=40,
        activation_function="gelu",
        tie_word_embeddings=False,
    ),
    "llama": LlamaConfig(**SMALL, **HEADS, head_dim=16, tie_word_embeddings=True),
    "llama-untied-biased-llama3": LlamaConfig(
        **SMALL,
        **HEADS,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={**LLAMA3, "rope_theta": 500.0, "original_max_position_embeddings": 16},
    ),
    "llama-yarn": LlamaConfig(
        **SMALL,
        **HEADS,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ),
    "llama-linear": LlamaConfig(
        **SMALL, **HEADS, rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}
    ),
    "qwen3": Qwen3Config(**SMALL, **HEADS, head_dim=16, tie_word_embeddings=True),
    "qwen3-untied-biased": Qwen3Config(**SMALL, **HEADS, head_dim=8, attention_bias=True),
    "qwen3-sliding": Qwen3Config(
        **SMALL, **HEADS, head_dim=8, use_sliding_window=True, sliding_window=5, max_window_layers=0
    ),
}

OURS = {
    "default": DecoderConfig(vocab_size=97, max_len=64, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2),
    "default-window": DecoderConfig(vocab_size=97, max_len=64, d_model=32, n_layers=2, n_heads=4, window=5),
    "interleaved": DecoderConfig(
        vocab_size=97, max_len=64, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, rope_layout="interleaved"
    ),
    "llama": DecoderConfig(
        vocab_size=97,
        max_len=64,
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=1,
        head_dim=16,
        qk_norm=False,
        tied=False,
        attention_bias=True,
        feed_forward_bias=True,
        rope_scaling=RopeScaling(kind="llama3", factor=8.0, original_max_len=16),
    ),
    "llama-yarn": DecoderConfig(
        vocab_size=97,
        max_len=64,
        d_model=32,
        n_layers=2,
        n_heads=4,
        qk_norm=False,
        rope_scaling=RopeScaling(kind="yarn", factor=4.0, original_max_len=16, attention_factor=1.3),
    ),
    "ntk": DecoderConfig(
        vocab_size=97,
        max_len=64,
        d_model=32,
        n_layers=2,
        n_heads=4,
        rope_scaling=RopeScaling(kind="ntk", factor=4.0, original_max_len=16),
    ),
    "gpt2": DecoderConfig(
        vocab_size=97,
        max_len=64,
        d_model=32,
        n_layers=2,
        n_heads=4,
        positions="learned",
        norm="layernorm",
        norm_eps=1e-5,
        qk_norm=False,
        feed_forward="gelu_tanh",
        attention_bias=True,
        feed_forward_bias=True,
    ),
}


def shake(model: torch.nn.Module) -> None:
    """Large random weights everywhere, so that no bias, norm or position goes unseen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def ids() -> torch.Tensor:
    return torch.randint(0, 97, (2, 41), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def largest_difference(ours: DecoderLM, theirs: torch.nn.Module) -> float:
    logits = ours(ids())
    assert logits.std() > 0.1, "logits that hardly vary would agree with anything"
    return (logits - theirs(ids()).logits.float()).abs().max().item()


@pytest.mark.parametrize("name", THEIRS)
def test_their_model_is_read_with_equal_logits(name: str, tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_config(THEIRS[name]).eval()
    shake(theirs)
    theirs.save_pretrained(tmp_path)
    ours = import_hugging_face(tmp_path).model
    assert largest_difference(ours, theirs) <= BOUND


def test_sharded_files_with_an_index_are_read(tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_config(THEIRS["qwen3"]).eval()
    shake(theirs)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert not (tmp_path / "model.safetensors").exists()
    assert largest_difference(import_hugging_face(tmp_path).model, theirs) <= BOUND


def test_a_model_saved_without_its_head_is_read(tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_config(THEIRS["gpt2"]).eval()
    shake(theirs)
    theirs.transformer.save_pretrained(tmp_path)  # as OpenAI's own gpt2 is stored: no "transformer." in front
    assert largest_difference(import_hugging_face(tmp_path).model, theirs) <= BOUND


@pytest.mark.parametrize("name", OURS)
def test_our_model_is_read_by_transformers_with_equal_logits(name: str, tmp_path: Path) -> None:
    ours = DecoderLM(OURS[name]).eval()
    shake(ours)
    export_hugging_face(ours, None, tmp_path / "out")
    theirs, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), f"transformers read the file incompletely: {report}"
    assert largest_difference(ours, theirs.eval()) <= BOUND


TEXTS = [
    "Now is the winter of our discontent\nMade glorious summer by this sun of York;",
    "  two  spaces, 1234567 digits, I'LL tab\t and\r\n line breaks\n\n\n",
    "naïve café ☃ 東京 🙂 \u0000 \u200d",
    "",
]


@pytest.mark.parametrize("name", ["default", "llama", "gpt2"])
def test_our_tokenizer_is_read_by_transformers_with_equal_ids(name: str, tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS * 3, 400)
    model = DecoderLM(dataclasses.replace(OURS[name], vocab_size=tokenizer.vocab_size))
    export_hugging_face(model, tokenizer, tmp_path / "out", chat_template="{{ messages[0]['content'] }}")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False).input_ids == tokenizer.encode(text)
        assert theirs(text).input_ids == tokenizer.encode(text, bos=True), "BOS goes in front, as in training"
        assert theirs.decode(tokenizer.encode(text)) == text
    roles = (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert roles == (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    assert theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    assert load_tokenizer(tmp_path / "out").fingerprint == tokenizer.fingerprint


def test_our_character_tokenizer_is_read_by_transformers_with_equal_ids(tmp_path: Path) -> None:
    tokenizer = train_characters(["to be, or not to be\n"])
    model = DecoderLM(dataclasses.replace(OURS["default"], vocab_size=tokenizer.vocab_size))
    export_hugging_face(model, tokenizer, tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("not to be", add_special_tokens=False).input_ids == tokenizer.encode("not to be")
    assert theirs("to").input_ids == tokenizer.encode("to", bos=True)
    assert theirs.decode(tokenizer.encode("or not")) == "or not"


def test_an_export_generates_in_transformers_what_we_generate(tmp_path: Path) -> None:
    ours = DecoderLM(OURS["default"]).eval()
    shake(ours)
    export_hugging_face(ours, None, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    start = ids()[:1, :5]
    generated = theirs.generate(start, max_new_tokens=12, do_sample=False, pad_token_id=0)
    expected = start
    with torch.no_grad():
        for _ in range(12):
            expected = torch.cat([expected, ours(expected)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generated, expected)
