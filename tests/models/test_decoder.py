"""The decoder: causal, masked as asked, equal on both backends, and clear about what it cannot run."""

import copy
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trueformer.models.decoder
import trueformer.nn.attention
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM

BACKENDS = ["fast", "plain"]
# Logits of order 1; the two ways sum the same products in other orders, through two layers.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

shapes = st.fixed_dictionaries(
    {
        "n_kv_heads": st.sampled_from([1, 2, 4]),
        "head_dim": st.sampled_from([4, 8]),
        "window": st.none() | st.integers(1, 12),
        "attention_sinks": st.booleans(),
        "positions": st.sampled_from(["rope", "learned", "sinusoidal", "none"]),
        "norm": st.sampled_from(["rmsnorm", "layernorm"]),
        "norm_placement": st.sampled_from(["pre", "post"]),
        "rope_layout": st.sampled_from(["half", "interleaved"]),
        "rope_dim": st.sampled_from([2, 4]),
        "qk_norm": st.booleans(),
        "feed_forward": st.sampled_from(["swiglu", "gelu", "gelu_tanh", "relu2"]),
        "tied": st.booleans(),
        "logit_softcap": st.none() | st.just(3.0),
        "attention_bias": st.booleans(),
        "feed_forward_bias": st.booleans(),
    }
)


def make(backend="fast", **changes):
    sizes = {"vocab_size": 19, "max_len": 24, "d_model": 32, "n_layers": 2, "n_heads": 4, "init_std": 0.2}
    model = DecoderLM(DecoderConfig(**(sizes | changes)), backend=backend).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("sinks", "bias")):
            torch.nn.init.normal_(parameter)
    return model


@settings(deadline=None, max_examples=40)
@given(
    shape=shapes, B=st.integers(1, 3), T=st.integers(1, 14), masks=st.integers(0, 3), seed=st.integers(0, 99)
)
def test_the_fast_backend_equals_the_plain_one(shape, B, T, masks, seed):
    torch.manual_seed(seed)
    model, ids = make(**shape), torch.randint(19, (B, T))
    document = torch.randint(3, (B, T)).sort().values if masks & 1 else None
    valid = torch.rand(B, T) < 0.7 if masks & 2 else None
    results = []
    for backend in BACKENDS:
        model.set_backend(backend)
        model.zero_grad()
        logits = model(ids, document_BT=document, key_valid_BS=valid)
        logits.logsumexp(-1).sum().backward()
        results.append((logits, {n: p.grad for n, p in model.named_parameters()}))
    (fast, fast_grads), (plain, plain_grads) = results
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, plain, **TOLERANCE)
    for name, grad in fast_grads.items():
        # Gradients are sums over all tokens and pass through every layer's rounding.
        torch.testing.assert_close(
            grad, plain_grads[name], rtol=1e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("how", ["parameters", "autocast"])
@pytest.mark.parametrize("changes", [{}, {"n_kv_heads": 2, "window": 5, "attention_sinks": True}])
def test_in_bf16_the_backends_agree_with_float32_alike(how, changes):
    torch.manual_seed(0)
    model, ids = make(init_std=0.1, **changes), torch.randint(19, (2, 12))
    exact = model(ids)
    if how == "parameters":
        model = model.bfloat16()
    errors = {}
    for backend in BACKENDS:
        model.set_backend(backend)
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            logits = model(ids)
        assert logits.dtype == torch.float32
        errors[backend] = (logits - exact).abs().max() / exact.abs().max()
    # Eight bits of mantissa, rounded some dozens of times on the way through two layers.
    assert max(errors.values()) < 0.04, errors


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=20)
@given(shape=shapes, T=st.integers(2, 14), data=st.data())
@torch.no_grad()
def test_a_logit_never_depends_on_a_later_token(backend, shape, T, data):
    model, ids = make(backend, **shape), torch.randint(19, (2, T))
    changed = data.draw(st.integers(1, T - 1))
    before = model(ids)
    ids[:, changed:] = (ids[:, changed:] + 1) % 19
    assert torch.equal(before[:, :changed], model(ids)[:, :changed])


@settings(deadline=None, max_examples=30)
@given(shape=shapes, lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
@torch.no_grad()
def test_packed_documents_equal_each_document_alone(shape, lengths, seed):
    torch.manual_seed(seed)
    model = make(**shape)
    documents = [torch.randint(19, (1, n)) for n in lengths]
    numbers = torch.tensor([[i for i, n in enumerate(lengths) for _ in range(n)]])
    packed = model(torch.cat(documents, dim=1), document_BT=numbers)
    alone = torch.cat([model(document) for document in documents], dim=1)
    torch.testing.assert_close(packed, alone, **TOLERANCE)


@settings(deadline=None, max_examples=30)
@given(
    shape=shapes,
    left=st.integers(0, 5),
    right=st.integers(0, 5),
    T=st.integers(1, 8),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(shape, left, right, T, seed):
    torch.manual_seed(seed)
    model, ids = make(**shape), torch.randint(19, (1, left + T + right))
    valid = torch.zeros(1, left + T + right, dtype=torch.bool)
    valid[:, left : left + T] = True
    padded = model(ids, key_valid_BS=valid)
    assert padded.isfinite().all()
    torch.testing.assert_close(padded[:, left : left + T], model(ids[:, left : left + T]), **TOLERANCE)


@pytest.mark.parametrize("T", [4, 8])
@torch.no_grad()
def test_a_window_hides_exactly_what_is_too_far_back(T):
    model, ids = make(window=3, n_layers=1), torch.randint(19, (1, T))
    before = model(ids)
    ids[0, 0] = (ids[0, 0] + 1) % 19
    moved = (model(ids) - before).abs().amax(-1)[0] > 0
    assert moved.tolist() == [True, True, True] + [False] * (T - 3)


def test_a_window_as_long_as_the_text_changes_nothing():
    model, ids = make(window=8), torch.randint(19, (1, 8))
    free = DecoderLM(DecoderConfig(**{**_fields(model.config), "window": None}))
    free.load_state_dict(model.state_dict())
    assert torch.equal(model(ids), free.eval()(ids))


def _fields(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


@pytest.mark.parametrize("backend", BACKENDS)
def test_r19_a_batch_of_one_and_a_single_token_work(backend):
    model = make(backend)
    assert model(torch.tensor([[3]])).shape == (1, 1, 19)
    assert model(torch.randint(19, (1, 24))).shape == (1, 24, 19)


def test_t1_an_empty_sequence_is_refused():
    model = make()
    for shape in ((1, 0), (0, 4)):
        with pytest.raises(ValueError, match=r"at least 1 of each.*BOS"):
            model(torch.zeros(shape, dtype=torch.long))
    with pytest.raises(ValueError, match=r"shape \(4,\): expected \(batch, tokens\)"):
        model(torch.zeros(4, dtype=torch.long))


def test_t16_a_sequence_beyond_max_len_is_refused():
    for positions in ("rope", "learned", "sinusoidal", "none"):
        with pytest.raises(ValueError, match="sequence of 25 tokens: expected at most max_len = 24"):
            make(positions=positions)(torch.zeros(1, 25, dtype=torch.long))


@pytest.mark.parametrize("shape", [(1, 6), (2, 1), (6,), (2, 6, 6), (2, 5)])
def test_t3_a_mask_of_another_shape_is_refused_never_broadcast(shape):
    model, ids = make(), torch.zeros(2, 6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"key_valid_BS has shape .* expected \(2, 6\)"):
        model(ids, key_valid_BS=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"document_BT has shape .* expected \(2, 6\)"):
        model(ids, document_BT=torch.ones(shape, dtype=torch.long))


def test_t3_a_mask_of_another_dtype_is_refused():
    model, ids = make(), torch.zeros(2, 6, dtype=torch.long)
    with pytest.raises(ValueError, match=r"key_valid_BS is torch.float32: expected torch.bool"):
        model(ids, key_valid_BS=torch.ones(2, 6))
    with pytest.raises(ValueError, match=r"key_valid_BS is torch.int64: expected torch.bool"):
        model(ids, key_valid_BS=torch.ones(2, 6, dtype=torch.long))
    with pytest.raises(ValueError, match=r"document_BT is torch.float32: expected torch.int64"):
        model(ids, document_BT=torch.ones(2, 6))


def test_n2_int32_and_int64_ids_are_the_same_to_it():
    model, ids = make(), torch.randint(19, (2, 6))
    assert torch.equal(model(ids), model(ids.int()))
    for dtype in (torch.float32, torch.int16, torch.bool):
        with pytest.raises(ValueError, match=r"expected int32 or int64; convert with .long\(\)"):
            model(ids.to(dtype))


def test_ids_outside_the_vocabulary_are_refused():
    model = make()
    for bad in (-1, 19):
        with pytest.raises(ValueError, match=r"expected 0 to 18.*tokenizer"):
            model(torch.tensor([[0, bad, 3]]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_r1_non_finite_weights_give_non_finite_logits_not_an_assertion(backend):
    model = make(backend)
    with torch.no_grad():
        model.blocks[0].attention.v.weight[0, 0] = float("nan")
    assert model(torch.randint(19, (1, 5))).isnan().any()


def test_r7_no_forward_pass_scans_its_scores_for_finiteness():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    model, ids = make(), torch.randint(19, (1, 5))
    with Watch():
        model(ids)
    assert "scaled_dot_product_attention" in seen  # so the watch does see
    assert not [name for name in seen if "finite" in name or "isnan" in name or "isinf" in name]


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "learned"}, {"positions": "sinusoidal", "tied": False}]
)
def test_a10_everything_is_made_on_one_device_and_moves_together(changes):
    with torch.device("meta"):
        model = make(**changes)
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.device.type for t in tensors} == {"meta"}
    moved = model.to_empty(device="cpu")
    assert {t.device.type for t in [*moved.parameters(), *moved.buffers()]} == {"cpu"}


def test_a_model_made_on_meta_is_whole_once_its_weights_are_assigned():
    source, ids = make(), torch.randint(19, (1, 9))
    with torch.device("meta"):
        model = DecoderLM(source.config).eval()
    model.load_state_dict(source.state_dict(), assign=True)
    assert torch.equal(model(ids), source(ids))


def test_r12_the_decoder_serves_one_purpose():
    names = set(inspect.signature(DecoderLM.forward).parameters)
    assert names == {"self", "ids_BT", "document_BT", "key_valid_BS", "cache"}
    assert not any("cross" in name for name, _ in make().named_parameters())


def test_logits_are_soft_capped_in_float32():
    model, ids = make(logit_softcap=2.0).bfloat16(), torch.randint(19, (2, 6))
    hidden = model.hidden(ids)
    logits = model.logits(hidden)
    assert hidden.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    raw = torch.nn.functional.linear(hidden, model.head_weight).float()
    torch.testing.assert_close(logits, 2 * torch.tanh(raw / 2))
    assert raw.abs().max() > 2 > logits.abs().max()


def test_dropout_is_for_training():
    model, ids = make(dropout=0.3), torch.randint(19, (2, 6))
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("residual", ["scaled", "zero"])
def test_initial_weights_have_the_stated_spread(residual):
    config = DecoderConfig(
        vocab_size=500, max_len=8, d_model=128, n_layers=3, n_heads=4, init_std=0.05, residual_init=residual,
        norm="layernorm", attention_bias=True, feed_forward_bias=True, attention_sinks=True, tied=False,
    )  # fmt: skip
    for name, parameter in DecoderLM(config).named_parameters():
        if parameter.dim() == 1:
            expected = 1.0 if name.endswith("norm.weight") else 0.0
            assert (parameter == expected).all(), name
        elif name.endswith(("attention.out.weight", "feed_forward.down.weight")):
            expected = 0.0 if residual == "zero" else 0.05 / 6**0.5
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
        else:
            assert parameter.std().item() == pytest.approx(0.05, rel=0.05), name


def test_parameter_names_are_a_promise():
    model = make(qk_norm=True, attention_sinks=True, tied=False, positions="learned", attention_bias=True)
    names = {
        name.replace("blocks.0", "blocks.i") for name, _ in model.named_parameters() if "blocks.1" not in name
    }
    block = {
        "attention_norm.weight", "feed_forward_norm.weight", "attention.sinks",
        "attention.q_norm.weight", "attention.k_norm.weight",
        *(f"attention.{m}.{p}" for m in ("q", "k", "v", "out") for p in ("weight", "bias")),
        *(f"feed_forward.{m}.weight" for m in ("gate", "up", "down")),
    }  # fmt: skip
    outer = {"embedding.weight", "positions.weight", "final_norm.weight", "head.weight"}
    assert names == outer | {f"blocks.i.{name}" for name in block}


def test_it_compiles_without_graph_breaks():
    model, ids = make(window=4, n_kv_heads=2), torch.randint(19, (2, 9))
    document = torch.tensor([[0] * 4 + [1] * 5] * 2)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(ids, document_BT=document), model(ids, document_BT=document), **TOLERANCE
    )
    compiled(ids).sum().backward()


@pytest.mark.slow
def test_compiled_by_inductor_it_equals_eager_in_logits_and_gradients():
    model, ids = make(n_kv_heads=2), torch.randint(19, (2, 9))
    results = []
    for run in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        logits = run(ids)
        logits.logsumexp(-1).sum().backward()
        results.append([logits, *(copy.deepcopy(p.grad) for p in model.parameters())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


def test_shapes_are_checked_while_testing():
    x_BTD = torch.randn(2, 3, 31)
    with pytest.raises(Exception, match="Type-check error"):
        trueformer.nn.attention.attend(x_BTD, x_BTD, x_BTD, None, scale=1.0)
    assert trueformer.models.decoder.__file__
