"""The optimizer object: state by name, exact resumption, and clear refusals."""

import json

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig

ALL = ["adamw", "muon", "adamuon"]


def through_files(state):
    """What a checkpoint does to a state: safetensors bytes and JSON text."""
    tensors, scalars = state
    return load(save(tensors)), json.loads(json.dumps(scalars))


def equal_models(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("stored", ["float32", "master", "stochastic"])
def test_a_resumed_run_equals_one_that_never_stopped(small, train, name, backend, stored):
    dtype = torch.float32 if stored == "float32" else torch.bfloat16
    updates = "master" if stored == "float32" else stored
    config = OptimConfig(name=name, bf16_updates=updates)
    straight, first, second = (small(dtype=dtype) for _ in range(3))
    whole = train(straight, config, 6, backend=backend)
    state = through_files(train(first, config, 3, backend=backend).state_dict())
    torch.manual_seed(99)  # nothing may depend on the global generator
    second.load_state_dict(first.state_dict())
    optimizers = build_optimizer(second, config, backend)
    optimizers.load_state_dict(*state)
    train(second, config, 6, first=3, optimizers=optimizers)
    assert equal_models(straight, second)
    for key, tensor in whole.state_dict()[0].items():
        assert torch.equal(tensor, optimizers.state_dict()[0][key]), key
    assert optimizers.steps == 6


@pytest.mark.parametrize("name", ALL)
def test_each_backend_reads_the_state_of_the_other(small, train, name):
    config = OptimConfig(name=name)
    fast = train(small(), config, 2)
    plain = build_optimizer(small(), config, "plain")
    plain.load_state_dict(*through_files(fast.state_dict()))
    for key, tensor in fast.state_dict()[0].items():
        assert torch.equal(tensor, plain.state_dict()[0][key]), key


def test_state_is_named_after_parameters_in_their_shapes(small):
    model = small()
    tensors, scalars = build_optimizer(model, OptimConfig(name="adamuon")).state_dict()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert all(tensor.shape == shapes[key.rpartition(".")[0]] for key, tensor in tensors.items())
    assert {
        "down.weight.momentum",
        "down.weight.square",
        "head.weight.mean",
        "norm.bias.square",
    } <= tensors.keys()
    assert scalars == {"optimizer": "adamuon", "steps": 0}


def test_state_does_not_depend_on_the_order_of_construction(train):
    def model(order):
        torch.manual_seed(0)
        weights = {"a": torch.randn(4, 4), "b": torch.randn(4, 4), "c": torch.randn(6, 4)}
        layers = {name: nn.Linear(4, len(weights[name]), bias=False) for name in order}
        for name, layer in layers.items():
            layer.weight.data.copy_(weights[name])
            layer.weight.grad = weights[name].roll(1, 0)
        return nn.ModuleDict(layers)

    states = []
    for order in ("abc", "cab"):
        optimizers = build_optimizer(model(order), OptimConfig(name="adamuon"))
        optimizers.step(1.0)
        states.append(optimizers.state_dict()[0])
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        torch.testing.assert_close(
            tensor, states[1][key], rtol=0.03, atol=1e-3
        )  # bf16 products in another order


def test_saved_state_is_a_copy(small, train):
    model, config = small(), OptimConfig(name="adamuon")
    optimizers = train(model, config, 1)
    saved = optimizers.state_dict()[0]
    before = {key: tensor.clone() for key, tensor in saved.items()}
    train(model, config, 2, first=1, optimizers=optimizers)
    assert all(torch.equal(before[key], saved[key]) for key in saved)


@pytest.mark.parametrize("stored", ["master", "stochastic"])
def test_replicas_with_equal_gradients_stay_equal_whatever_their_seeds(small, train, stored):
    config, models = OptimConfig(name="muon", bf16_updates=stored), []
    for rank in range(2):
        model = small(dtype=torch.bfloat16)
        torch.manual_seed(rank)
        train(model, config, 4)
        models.append(model)
    assert equal_models(*models)


def test_only_the_same_state_is_loaded_and_otherwise_nothing(small, train):
    config = OptimConfig(name="muon")
    optimizers = train(small(), config, 2)
    tensors, scalars = optimizers.state_dict()
    other = dict(tensors)
    key = "up.weight.momentum"
    cases = [
        ({k: v for k, v in tensors.items() if k != key}, scalars, f"lacks {key}"),
        (other | {"x.weight.mean": torch.zeros(1)}, scalars, r"has x\.weight\.mean"),
        (other | {key: torch.zeros(3, 6)}, scalars, rf"{key} is \(3, 6\) .*expected \(10, 6\)"),
        (other | {key: tensors[key].double()}, scalars, rf"{key} is .*float64.*expected .*float32"),
        (tensors, scalars | {"optimizer": "adamw"}, "is of 'adamw', this run uses 'muon'"),
    ]
    target = build_optimizer(small(), config)
    for bad_tensors, bad_scalars, message in cases:
        with pytest.raises(ValueError, match=message):
            target.load_state_dict(bad_tensors, bad_scalars)
        assert target.steps == 0
        assert all(not tensor.any() for tensor in target.state_dict()[0].values())
    target.load_state_dict(tensors, scalars)


def test_a_parameter_without_a_gradient_is_named(small):
    model = small()
    for name, p in model.named_parameters():
        if name != "down.weight":
            p.grad = torch.zeros_like(p)
    optimizers = build_optimizer(model, OptimConfig())
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=r"down\.weight has no gradient"):
        optimizers.step(1.0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert optimizers.steps == 0


def test_zero_grad_drops_gradients_and_param_groups_tell_rates(small):
    model = small()
    optimizers = build_optimizer(model, OptimConfig(lr_head=0.007, weight_decay=0.2))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizers.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    by_name = {group["name"]: group for group in optimizers.param_groups}
    assert by_name["head"]["lr"] == 0.007
    assert {name: group["decay"] for name, group in by_name.items()} == {
        "matrices": 0.2,
        "embeddings": 0.2,
        "head": 0.2,
        "vectors": 0.0,
    }
