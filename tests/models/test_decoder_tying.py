"""Tied weights stay one matrix through copies, moves and loads; untied ones stay two."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def make(tied=True):
    return DecoderLM(
        DecoderConfig(vocab_size=19, max_len=8, d_model=16, n_layers=1, n_heads=2, tied=tied)
    ).eval()


def assigned(model):
    other = make()
    other.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    return other


def loaded(model):
    other = make()
    other.load_state_dict(model.state_dict())
    return other


def saved(model, folder):
    save_file(model.state_dict(), folder / "model.safetensors")
    other = make()
    other.load_state_dict(load_file(folder / "model.safetensors"))
    return other


def rebuilt(model):
    model.embedding = copy.deepcopy(model.embedding)
    return model


CHANGES = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "to dtype": lambda model, _: model.to(torch.bfloat16).to(torch.float32),
    "through meta": lambda model, _: model.to("meta").to_empty(device="cpu"),
    "load": lambda model, _: loaded(model),
    "load by assignment": lambda model, _: assigned(model),
    "a file": saved,
    "the embedding rebuilt": lambda model, _: rebuilt(model),
}


@pytest.mark.parametrize("change", CHANGES)
def test_r11_tied_weights_stay_tied(change, tmp_path):
    model = CHANGES[change](make(), tmp_path)
    assert model.head_weight is model.embedding.weight
    assert "head.weight" not in model.state_dict()
    with torch.no_grad():
        model.embedding.weight.copy_(torch.randn(19, 16))
    x = torch.randn(2, 16)
    torch.testing.assert_close(model.logits(x), x @ model.embedding.weight.T)
    model(torch.randint(19, (1, 4))).sum().backward()
    assert model.embedding.weight.grad is not None
    assert sum(p is model.head_weight for p in model.parameters()) == 1


def test_r11_untied_weights_are_two():
    model = make(tied=False)
    assert model.head_weight is not model.embedding.weight
    assert "head.weight" in model.state_dict()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.embedding.weight.zero_()
    assert torch.equal(twin.head_weight, model.head_weight)


def test_r11_an_untied_model_can_be_tied():
    model = make(tied=False)
    model.tie_weights()
    assert model.config.tied
    assert model.head_weight is model.embedding.weight
    make(tied=True).load_state_dict(model.state_dict())


def test_a_state_of_the_other_kind_is_refused():
    with pytest.raises(RuntimeError, match=r"head\.weight"):
        make(tied=True).load_state_dict(make(tied=False).state_dict())
    with pytest.raises(RuntimeError, match=r"head\.weight"):
        make(tied=False).load_state_dict(make(tied=True).state_dict())
