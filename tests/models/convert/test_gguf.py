"""GGUF files of every family and kind of tensor, written with the `gguf` package from models of ours."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch

from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.models.convert.gguf import import_gguf
from trueformer.nn.rotary import rotary_frequencies
from trueformer.tokenization.bpe import ByteBPE, train_bpe

TEXTS = [
    "the cat sat on the mat\n",
    "O Romeo, Romeo! wherefore art thou Romeo? 12345",
    "naïve ☃ 東京",
    "  a\r\n\n b",
]


@pytest.fixture(scope="module")
def tokenizer() -> ByteBPE:
    return train_bpe(TEXTS * 3, 320)


def llama(tokenizer: ByteBPE, **changes: object) -> DecoderConfig:
    values = {"max_len": 64, "d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96}
    return DecoderConfig(**{"vocab_size": tokenizer.vocab_size, "qk_norm": False, **values, **changes})


def gpt2(tokenizer: ByteBPE) -> DecoderConfig:
    return llama(
        tokenizer,
        n_kv_heads=4,
        positions="learned",
        norm="layernorm",
        feed_forward="gelu_tanh",
        attention_bias=True,
        feed_forward_bias=True,
    )


FAMILIES = {
    "llama": lambda tokenizer: llama(tokenizer),
    "llama-untied": lambda tokenizer: llama(tokenizer, tied=False, attention_bias=True, rope_base=500.0),
    "qwen3": lambda tokenizer: llama(tokenizer, qk_norm=True, head_dim=32),
    "gpt2": gpt2,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_comes_back_bit_for_bit(family, tokenizer, shaken, write_gguf) -> None:
    model = shaken(FAMILIES[family](tokenizer))
    path = write_gguf(model, tokenizer, architecture=family.split("-")[0])
    loaded = import_gguf(path)
    found = dict(loaded.model.named_parameters())
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(found[name], parameter), name
    ids = torch.arange(40)[None] % tokenizer.vocab_size
    with torch.no_grad():
        # float32 keeps the metadata's epsilon to 1e-14 only; a wrong one would show at 1e-7 and above.
        assert torch.allclose(loaded.model(ids), model(ids), atol=1e-5)


# Largest error over the largest weight: half a unit in the last of 11 or 8 bits; half a step of 1/127; a
# whole step of 1/8 (Q4_0 has no +8); half a step of a fifteenth of the range. Scales are float16: 2^-10 more.
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("F16", 2**-11),
        ("BF16", 2**-8),
        ("Q8_0", 1 / 254 + 2**-10),
        ("Q4_0", 1 / 8 + 2**-10),
        ("Q4_1", 1 / 15 + 2**-10),
    ],
)
def test_quantised_tensors_are_as_near_as_their_format(kind, error, tokenizer, shaken, write_gguf) -> None:
    model = shaken(llama(tokenizer))
    found = dict(
        import_gguf(write_gguf(model, tokenizer, architecture="llama", kind=kind)).model.named_parameters()
    )
    for name, parameter in model.named_parameters():
        largest = parameter.abs().max().item()
        difference = (found[name] - parameter).abs().max().item()
        assert difference <= error * largest, name
        assert (difference > 0) == (parameter.dim() == 2), f"{name}: only matrices are quantised"


def test_tokenizer_inside_gives_the_ids_of_the_one_it_was_made_from(tokenizer, shaken, write_gguf) -> None:
    path = write_gguf(
        shaken(llama(tokenizer)),
        tokenizer,
        architecture="llama",
        extra={"tokenizer.chat_template": "{{ messages }}"},
    )
    loaded = import_gguf(path)
    assert loaded.chat_template == "{{ messages }}"
    assert loaded.tokenizer is not None
    for text in (*TEXTS, "<|eos|> is text here", ""):
        assert loaded.tokenizer.encode(text) == tokenizer.encode(text)
        assert loaded.tokenizer.decode(tokenizer.encode(text)) == text
    assert loaded.tokenizer.encode("a<|eos|>", allow_special=True)[-1] == tokenizer.eos_id
    assert loaded.tokenizer.special_ids == tokenizer.special_ids


def test_control_tokens_are_special_and_user_defined_ones_are_whole_text(
    tokenizer, shaken, write_gguf
) -> None:
    library = tokenizers.Tokenizer.from_str(tokenizer.library.to_str())
    library.add_special_tokens([tokenizers.AddedToken("<|im_start|>", normalized=False, special=True)])
    library.add_tokens([tokenizers.AddedToken("<think>", normalized=False, special=False)])
    more = ByteBPE(library, bos=tokenizer.bos_id, eos=tokenizer.eos_id, pad=tokenizer.pad_id)
    config = llama(tokenizer, vocab_size=more.vocab_size)
    loaded = import_gguf(write_gguf(shaken(config), more, architecture="llama")).tokenizer
    assert loaded is not None
    think, start = more.encode("<think>"), more.encode("<|im_start|>", allow_special=True)
    assert len(think) == len(start) == 1
    assert loaded.encode("<think>") == think
    assert loaded.encode("<|im_start|>", allow_special=True) == start
    assert start[0] not in loaded.encode("<|im_start|>")
    assert set(loaded.special_ids) == set(more.special_ids)


def rope_divisors(scaling: RopeScaling, head_dim: int, base: float) -> np.ndarray:
    plain, stretched = rotary_frequencies(head_dim, base)[0], rotary_frequencies(head_dim, base, scaling)[0]
    return (plain / stretched).float().numpy()


def test_llama3_scaling_is_recognised_by_its_divisors(tokenizer, shaken, write_gguf) -> None:
    scaling = RopeScaling(kind="llama3", factor=8.0, original_max_len=8192)
    config = llama(tokenizer, rope_base=500_000.0, rope_scaling=scaling)
    divisors = rope_divisors(scaling, 16, 500_000.0)
    assert 1 < np.median(divisors) < 8 or len(set(divisors.round(3))) > 2, "the blend is part of the test"
    path = write_gguf(
        shaken(config), tokenizer, architecture="llama", tensors={"rope_freqs.weight": divisors}
    )
    assert import_gguf(path).config.rope_scaling == scaling


def test_other_divisors_are_refused(tokenizer, shaken, write_gguf) -> None:
    divisors = np.linspace(1, 8, 8, dtype=np.float32)
    path = write_gguf(
        shaken(llama(tokenizer)), tokenizer, architecture="llama", tensors={"rope_freqs.weight": divisors}
    )
    with pytest.raises(ValueError, match=r"rope_freqs.weight is not Llama 3's scaling by 8"):
        import_gguf(path)


def test_linear_scaling_is_read_and_yarn_is_refused(tokenizer, shaken, write_gguf) -> None:
    extra = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path = write_gguf(shaken(llama(tokenizer)), tokenizer, architecture="llama", extra=extra)
    assert import_gguf(path).config.rope_scaling == RopeScaling(
        kind="linear", factor=4.0, original_max_len=16
    )
    extra["llama.rope.scaling.type"] = "yarn"
    path = write_gguf(shaken(llama(tokenizer)), tokenizer, architecture="llama", extra=extra)
    with pytest.raises(ValueError, match=r"rope\.scaling\.type is 'yarn', expected none or linear"):
        import_gguf(path)


def test_heads_that_turn_in_part_are_refused(tokenizer, shaken, write_gguf) -> None:
    model = shaken(llama(tokenizer))
    path = write_gguf(model, tokenizer, architecture="llama", extra={"llama.attention.key_length": 32.0})
    with pytest.raises(ValueError, match=r"heads have 32.0 channels and 16 turn"):
        import_gguf(path)


def test_t10_a_missing_tensor_and_a_wrong_shape_are_named(tokenizer, shaken, write_gguf) -> None:
    model = shaken(llama(tokenizer))
    wrong = {"blk.1.attn_k.weight": np.zeros((64, 64), np.float32), "blk.9.extra": np.zeros(32, np.float32)}
    path = write_gguf(model, tokenizer, architecture="llama", tensors=wrong)
    with pytest.raises(
        ValueError, match=r"blk.1.attn_k.weight is \[64, 64\], expected \[32, 64\]; blk.9.extra \[32\] is not"
    ):
        import_gguf(path)


def test_t15_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tokenizer, shaken, write_gguf) -> None:
    model = shaken(llama(tokenizer, vocab_size=tokenizer.vocab_size - 1))
    path = write_gguf(model, tokenizer, architecture="llama")
    with pytest.raises(ValueError, match=r"the tokenizer has \d+ tokens and the model embeds \d+"):
        import_gguf(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenizer.ggml.model", "llama", "tokenizer.ggml.model is 'llama', expected 'gpt2'"),
        ("tokenizer.ggml.pre", "viking", "tokenizer.ggml.pre is 'viking', expected one of"),
        ("general.architecture", "mamba", "general.architecture is 'mamba', expected one of"),
        ("llama.block_count", "many", "llama.block_count is a str"),
    ],
)
def test_other_kinds_are_refused_by_name(key, value, message, tokenizer, shaken, write_gguf) -> None:
    path = write_gguf(shaken(llama(tokenizer)), tokenizer, architecture="llama")
    with pytest.raises(ValueError, match=message):
        import_gguf(_rewritten(path, key, value))


def _rewritten(path: Path, key: str, value: str) -> Path:
    """The file with one value of its metadata replaced by text."""
    reader = gguf.GGUFReader(path)
    other = path.with_name("changed.gguf")
    writer = gguf.GGUFWriter(other, "llama")
    writer.kv_data[0].clear()
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        contents, sub_type = field.contents(), field.types[1] if len(field.types) > 1 else None
        if name == key:
            writer.add_string(name, value)
        else:
            writer.add_key_value(name, contents, field.types[0], sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return other
