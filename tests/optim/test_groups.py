"""Every trainable parameter is in one group, the right one, and moves at that group's rate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig
from trueformer.optim.groups import parameter_groups


def decoder(**changes):
    sizes = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_ff": 16}
    return DecoderLM(DecoderConfig(**sizes | changes))


def names(model):
    return {group: {name for name, _ in members} for group, members in parameter_groups(model).items()}


def test_n6_embedding_head_and_matrices_are_told_apart():
    groups = names(decoder(tied=False, positions="learned", feed_forward="gelu"))
    assert groups["embeddings"] == {"embedding.weight", "positions.weight"}
    assert groups["head"] == {"head.weight"}
    assert groups["matrices"] == {
        f"blocks.{i}.{part}.weight"
        for i in range(2)
        for part in (
            *(f"attention.{x}" for x in ("q", "k", "v", "out")),
            "feed_forward.up",
            "feed_forward.down",
        )
    }
    assert "final_norm.weight" in groups["vectors"]


def test_n6_each_group_moves_at_its_own_rate():
    config = OptimConfig(
        name="adamuon",
        lr_matrices=0.1,
        lr_embeddings=0.02,
        lr_head=0.003,
        lr_vectors=0.0004,
        weight_decay=0.0,
    )
    model = decoder(tied=False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    build_optimizer(model, config).step(1.0)
    expected = {"matrices": 0.2 * 0.1, "embeddings": 0.02, "head": 0.003, "vectors": 0.0004}
    for group, members in parameter_groups(model).items():
        for name, p in members:
            moved = (p.detach() - before[name]).square().mean().sqrt().item()
            # Adam's first step is lr in every weight, AdaMuon's RMS 0.2 lr; weights near 1 round to 6e-8.
            assert moved == pytest.approx(expected[group], rel=1e-3), name


@settings(deadline=None, max_examples=20)
@given(
    tied=st.booleans(),
    qk_norm=st.booleans(),
    positions=st.sampled_from(["rope", "learned", "none"]),
    norm=st.sampled_from(["rmsnorm", "layernorm"]),
    bias=st.booleans(),
    sinks=st.booleans(),
)
def test_a5_groups_are_complete_and_disjoint(tied, qk_norm, positions, norm, bias, sinks):
    model = decoder(
        tied=tied,
        qk_norm=qk_norm,
        positions=positions,
        norm=norm,
        attention_bias=bias,
        feed_forward_bias=bias,
        attention_sinks=sinks,
    )
    grouped = [p for members in parameter_groups(model).values() for _, p in members]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", ["adamw", "muon", "adamuon"])
@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_a5_one_step_moves_every_parameter(name, backend):
    model = decoder(tied=False, attention_sinks=True)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizers = build_optimizer(model, OptimConfig(name=name), backend)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizers.step(1.0)
    for n, p in model.named_parameters():
        assert (p != before[n]).any(), n


class HeadFirst(nn.Module):
    """A tied model that registers its head before its embedding."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 9, bias=False)
        self.embedding = nn.Embedding(9, 4)
        self.embedding.weight = self.head.weight


def test_a_tied_head_counts_once_as_an_embedding_in_either_order():
    assert names(decoder(tied=True))["head"] == set()
    assert names(HeadFirst()) == {
        "embeddings": {"embedding.weight"},
        "head": set(),
        "matrices": set(),
        "vectors": set(),
    }


def test_a_compiled_model_has_the_names_and_parameters_of_the_original():
    model = decoder()
    assert parameter_groups(torch.compile(model)) == parameter_groups(model)


def test_frozen_parameters_are_left_out():
    model = decoder()
    model.embedding.requires_grad_(False)
    assert names(model)["embeddings"] == set()


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(ValueError, match=r"conv\.weight has shape \(2, 1, 3\)"):
        parameter_groups(nn.ModuleDict({"conv": nn.Conv1d(1, 2, 3)}))
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False))
