import pytest
import torch

from trueformer.training.sampling import text_sample


@pytest.fixture
def trained(make_trainer):
    trainer = make_trainer(model={"dropout": 0.1}, loop={"steps": 120})
    for _ in range(120):
        trainer.step()
    return trainer


def take(trainer, **changes):
    from dataclasses import replace

    return text_sample(trainer.model, trainer.data.tokenizer, replace(trainer.config.loop, **changes))


def test_a_sample_continues_its_prompt_and_is_repeatable(trained):
    sample = take(trained, sample_prompt="the ", sample_tokens=8)
    assert sample.last is None
    text = sample()
    assert text.startswith("the ")
    assert 4 < len(text) <= 12
    assert sample() == text == sample.last


def test_a_sample_from_nothing_starts_a_document(trained):
    text = take(trained, sample_prompt="", sample_temperature=0.0, sample_tokens=8)()
    assert text.startswith("the")


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_mode_and_randomness_alone(trained, training):
    trained.model.train(training)
    state = torch.get_rng_state()
    take(trained)()
    assert trained.model.training is training
    assert torch.equal(torch.get_rng_state(), state)
