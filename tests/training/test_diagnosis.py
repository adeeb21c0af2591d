"""Shapes: B batch, T query length."""

import math

import pytest
import torch

from trueformer.training.diagnosis import diagnose, first_non_finite_activation, non_finite


def spoil_forward(trainer, name):
    """Make one module's output infinite, by a hook that stays."""
    module = trainer.model.get_submodule(name)
    module.register_forward_hook(lambda module, args, out: out * math.inf)


@pytest.fixture
def trainer(make_trainer):
    trainer = make_trainer(model={"n_layers": 2})
    trainer.step()
    return trainer


def test_a_sound_model_has_nothing_to_name(trainer):
    named = dict(trainer.model.named_parameters())
    assert non_finite(named) == []
    assert first_non_finite_activation(trainer.model, trainer._eager_loss_sum) is None
    assert "are finite: the loss itself" in diagnose(trainer.model, trainer._eager_loss_sum)


def test_bad_parameters_are_named_first_with_their_count(trainer):
    weight = trainer.model.blocks[1].feed_forward.down.weight
    with torch.no_grad():
        weight[0, :3] = math.nan
        weight[1, 0] = math.inf
    told = diagnose(trainer.model, trainer._eager_loss_sum)
    assert told.startswith(
        f"non-finite parameters: blocks.1.feed_forward.down.weight (4 of {weight.numel()})"
    )


@pytest.mark.parametrize(
    "name", ["embedding", "blocks.0.attention.q", "blocks.1.feed_forward.down", "final_norm"]
)
def test_the_first_bad_activation_is_named(trainer, name):
    spoil_forward(trainer, name)
    told = diagnose(trainer.model, trainer._eager_loss_sum)
    assert told == f"parameters are finite; the first non-finite activation is {name}'s output"


def test_bad_gradients_are_named_where_all_else_is_sound(trainer):
    trainer.model.embedding.weight.grad[0] = math.nan
    told = diagnose(trainer.model, trainer._eager_loss_sum)
    assert "non-finite gradients: embedding.weight (16 of" in told


def test_no_hook_stays_behind(trainer):
    diagnose(trainer.model, trainer._eager_loss_sum)
    assert not any(module._forward_hooks for module in trainer.model.modules())
