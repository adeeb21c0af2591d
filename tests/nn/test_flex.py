"""FlexAttention's masks and sinks against the written-out attention; its eager form on a CPU."""

import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn import flex
from trueformer.nn.attend import attend
from trueformer.nn.flex import block_mask, suits_flex
from trueformer.nn.masks import attention_mask

# The eager form warns that it is slow: no user of a CPU gets it.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


# Each shape and rule costs a trace, so there are few, all with several key heads, query heads and rows.
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("rules", [{"window"}, {"document_BT"}, {"window", "key_valid_BS", "document_BT"}])
@torch.no_grad()
def test_flex_equals_the_plain_path(rules, sinks):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 9, 4, 8), torch.randn(2, 9, 2, 8), torch.randn(2, 9, 2, 8)
    sinks_N = torch.randn(4) if sinks else None
    every = {
        "window": 4,
        "key_valid_BS": torch.rand(2, 9) < 0.6,
        "document_BT": torch.randint(3, (2, 9)).sort().values,
    }
    chosen = {name: rule for name, rule in every.items() if name in rules}
    mask = attention_mask(torch.arange(9), 9, **chosen)
    plain = attend(q, k, v, mask, scale=0.3, sinks_N=sinks_N, backend="plain")
    fast = attend(q, k, v, block_mask(9, q.device, **chosen), scale=0.3, sinks_N=sinks_N)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


def test_it_is_used_on_cuda_only_without_cache_or_dropout():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert suits_flex(cuda, dropout=False)
    assert not suits_flex(cpu, dropout=False)
    assert not suits_flex(cuda, dropout=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="block masks are used on CUDA only")
def test_a_model_on_cuda_equals_its_plain_twin():
    config = DecoderConfig(
        vocab_size=19, max_len=512, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, window=100
    )
    model = DecoderLM(config).cuda().eval()
    ids = torch.randint(19, (2, 300)).cuda()
    document = torch.randint(3, (2, 300)).sort().values.cuda()
    results = []
    for backend in ("fast", "plain"):
        model.set_backend(backend)
        model.zero_grad()
        logits = model(ids, document_BT=document)
        logits.logsumexp(-1).sum().backward()
        results.append((logits, model.embedding.weight.grad))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-2, atol=1e-3)  # TF32 may be on


@torch.no_grad()
def test_a_model_gives_block_masks_to_flex(monkeypatch):
    monkeypatch.setattr(flex, "suits_flex", lambda device, **_: True)
    config = DecoderConfig(
        vocab_size=19,
        max_len=32,
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        window=5,
        attention_sinks=True,
    )
    model = DecoderLM(config).eval()
    ids, document = torch.randint(19, (2, 17)), torch.randint(3, (2, 17)).sort().values
    called = []
    monkeypatch.setattr(flex, "flex_attention", _recording(flex.flex_attention, called))
    fast = model(ids, document_BT=document)
    assert len(called) == 2
    model.set_backend("plain")
    monkeypatch.setattr(flex, "suits_flex", lambda device, **_: False)
    torch.testing.assert_close(fast, model(ids, document_BT=document), rtol=1e-4, atol=1e-5)


def _recording(function, calls):
    def call(*args, **kwargs):
        calls.append(function)
        return function(*args, **kwargs)

    return call
