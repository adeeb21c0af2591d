"""AdamW against torch's own, and decoupled decay as it must be, for all three optimizers."""

import pytest
import torch

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig
from trueformer.optim.groups import parameter_groups

ALL = ["adamw", "muon", "adamuon"]


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_adamw_equals_torch_step_by_step(small, train, backend):
    config = OptimConfig(name="adamw", lr_matrices=0.01, lr_vectors=0.002, weight_decay=0.1, eps=1e-8)
    ours, theirs = small(), small()
    groups = [
        {
            "params": [p for _, p in members],
            "lr": getattr(config, f"lr_{name}"),
            "weight_decay": 0.0 if name == "vectors" else 0.1,
        }
        for name, members in parameter_groups(theirs).items()
    ]
    reference = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)
    peaks = [group["lr"] for group in reference.param_groups]
    optimizers = build_optimizer(ours, config, backend)
    for step in range(20):
        train(ours, config, step + 1, first=step, optimizers=optimizers)
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            p.grad = q.grad.clone()
        for group, peak in zip(reference.param_groups, peaks, strict=True):
            group["lr"] = peak / (1 + step)
        reference.step()
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            # The same kernel gives the same bits; the plain twin rounds in another order, some ulps a step.
            torch.testing.assert_close(q, p, rtol=0, atol=0 if backend == "fast" else 1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_k8_with_zero_gradients_weights_shrink_and_moments_stay_zero(small, name, backend):
    model = small()
    config = OptimConfig(name=name, weight_decay=0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizers = build_optimizer(model, config, backend)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizers.step(0.5)
    for group in optimizers.param_groups:
        shrink = 1 - 0.5 * group["lr"] * (0.0 if group["name"] == "vectors" else 0.5)
        for n, p in zip(group["names"], group["params"], strict=True):
            torch.testing.assert_close(p.detach(), before[n] * shrink, rtol=1e-6, atol=0)  # one rounding
    assert all(not tensor.any() for tensor in optimizers.state_dict()[0].values())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_k8_moments_do_not_know_the_decay(small, train, name, backend):
    states = [
        train(small(), OptimConfig(name=name, weight_decay=decay), 4, backend=backend).state_dict()[0]
        for decay in (0.0, 0.9)
    ]
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key


@pytest.mark.parametrize("name", ALL)
def test_k8_vectors_never_decay(small, train, name):
    models = [small(), small()]
    for model, decay in zip(models, (0.0, 0.9), strict=True):
        train(model, OptimConfig(name=name, weight_decay=decay), 4)
    for n in ("square.bias", "norm.weight", "norm.bias"):
        assert torch.equal(models[0].get_parameter(n), models[1].get_parameter(n)), n
    for n in ("square.weight", "embedding.weight", "head.weight"):
        assert not torch.equal(models[0].get_parameter(n), models[1].get_parameter(n)), n


def test_a9_subtracting_a_share_and_multiplying_by_the_rest_are_the_same_decay():
    p, share = torch.randn(1000), 3e-4 * 0.1
    subtracted = p.clone().add_(p, alpha=-share)
    # One float32 rounding each: at most one unit in the last place apart.
    torch.testing.assert_close(subtracted, p * (1 - share), rtol=1.2e-7, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_left_as_they_were(small, name):
    model = small()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    before = [p.grad.clone() for p in model.parameters()]
    build_optimizer(model, OptimConfig(name=name)).step(1.0)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))
