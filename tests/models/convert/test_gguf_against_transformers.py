"""Small GGUF files of every family: transformers reads the same model and tokenizer from them.

The bound is 1e-4, for float32 in another order of operations on logits of around 1.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.gguf import import_gguf
from trueformer.tokenization.bpe import train_bpe

TEXTS = [
    "the cat sat on the mat\n",
    "O Romeo, Romeo! wherefore art thou 12345",
    "naïve ☃ 東京",
    "  a\r\n\n b",
]
COMMON = {"max_len": 64, "d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 96}
GPT2 = {"positions": "learned", "norm": "layernorm", "norm_eps": 1e-5, "feed_forward": "gelu_tanh"}
BIASED = {"attention_bias": True, "feed_forward_bias": True}
FAMILIES = {
    "llama": {"n_kv_heads": 2, "qk_norm": False, "norm_eps": 1e-5},
    "llama-untied": {"n_kv_heads": 1, "qk_norm": False, "tied": False, "rope_base": 500.0},
    # transformers takes these three sizes for granted: head_dim, the positions and the feed-forward's width.
    "qwen3": {"n_kv_heads": 2, "head_dim": 128},
    "gpt2": {"qk_norm": False, **GPT2, **BIASED, "max_len": 1024, "d_ff": 256},
}


@pytest.mark.parametrize(
    ("family", "kind"), [(family, "F32") for family in FAMILIES] + [("llama", "Q4_0"), ("llama", "BF16")]
)
def test_logits_and_ids_agree(family, kind, shaken, write_gguf) -> None:
    tokenizer = train_bpe(TEXTS * 3, 320)
    model = shaken(DecoderConfig(vocab_size=tokenizer.vocab_size, **(COMMON | FAMILIES[family])))
    path = write_gguf(model, tokenizer, architecture=family.split("-")[0], kind=kind)
    ours = import_gguf(path)
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    ids = torch.randint(0, tokenizer.vocab_size, (2, 41), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = ours.model(ids)
        assert logits.std() > 0.1
        assert (logits - theirs(ids).logits).abs().max().item() <= 1e-4
    other = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert ours.tokenizer is not None
    for text in TEXTS:
        assert ours.tokenizer.encode(text) == other(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("split", ["gpt-2", "llama-bpe", "qwen2"])
def test_every_way_of_splitting_agrees(split, shaken, write_gguf) -> None:
    """`smollm`, which transformers does not know, is in tests/peers/test_smollm2.py."""
    texts = ["1234567 12345 12 1", "I'LL don't", "a\r\n\n  b", "x_y!? ...\n", "two  three   four\t5"]
    tokenizer = train_bpe(texts * 9, 400)
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, **(COMMON | FAMILIES["llama"]))
    path = write_gguf(shaken(config), tokenizer, architecture="llama", split=split)
    ours = import_gguf(path).tokenizer
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert ours is not None
    for text in [*texts, *TEXTS]:
        assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert ours.adds_bos == (split == "llama-bpe")
