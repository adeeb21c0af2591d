"""The compiled pass gives what the uncompiled one gives: alone, in company, with a window and with sinks."""

import pytest
import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.engine import Engine
from trueformer.inference.engine.request import Request
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM

KINDS = {"plain": {}, "window and sinks": {"window": 5, "attention_sinks": True}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_pass_is_the_uncompiled_one(kind):
    torch.manual_seed(0)
    shape = {"vocab_size": 53, "max_len": 48, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
    model = DecoderLM(DecoderConfig(**shape, init_std=0.4, **KINDS[kind])).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(parameter)
    texts = []
    for compiled in (False, True):
        engine = Engine(model, n_slots=3, slot_len=48, compile_step=compiled)
        requests = [
            Request(
                prompt=[i + 1] * (3 * i + 1),
                max_new_tokens=8 + 5 * i,
                sampling=SamplingConfig(temperature=float(i % 2), seed=i),
            )
            for i in range(5)
        ]
        for request in requests:
            engine.submit(request)
        ids = {request: [] for request in requests}
        while not engine.idle:
            for event in engine.step():
                if event.token:
                    ids[event.request].append(event.token.id)
        texts.append(list(ids.values()))
        assert engine.cache.lengths[:3] == [len(held) for held in engine._pool.held]
    assert texts[0] == texts[1]
    assert [len(text) for text in texts[0]] == [8, 13, 18, 23, 28]
