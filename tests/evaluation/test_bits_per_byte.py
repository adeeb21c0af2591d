"""Evaluation figures against a slow twin that scores one token at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trueformer.data.token_set import TokenSet
from trueformer.evaluation import bits_per_byte
from trueformer.evaluation.bits_per_byte import EvalResult, evaluate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import ByteBPE, train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.training.distributed import World

TEXTS = ["a rose is a rose\n", "naïve 東京 🙂", "x", "the end of the tale, and the tale of the end"] * 2
TOKENIZER = train_bpe(TEXTS, 290)


def token_set(tokenizer=TOKENIZER, texts=TEXTS):
    ids = np.concatenate([np.array(i, dtype=np.uint16) for i in tokenizer.encode(texts, bos=True)])
    n_bytes = sum(len(text.encode()) for text in texts)
    return TokenSet([ids], bos_id=tokenizer.bos_id, n_documents=len(texts), n_bytes=n_bytes)


def model(vocab_size=290, **changes):
    torch.manual_seed(0)
    values = {"max_len": 32, "d_model": 16, "n_layers": 1, "n_heads": 2, "init_std": 0.3}
    return DecoderLM(DecoderConfig(vocab_size=vocab_size, **(values | changes)))


@torch.no_grad()
def slow(model, tokens, tokenizer, seq_len):
    """One row and one token at a time, in float64 sums of float32 log-probabilities."""
    ids = tokens.window(0, tokens.n_tokens)
    byte_counts = tokenizer.token_bytes()
    nats, byte_nats, n_bytes = [], 0.0, 0
    for start in range(0, len(ids) - 1, seq_len):
        row = torch.from_numpy(ids[start : start + seq_len + 1])
        log_probs = model(row[None, :-1])[0].log_softmax(-1)
        for position, target in enumerate(row[1:].tolist()):
            nats.append(-log_probs[position, target].item())
            byte_nats += nats[-1] if byte_counts[target] else 0.0
            n_bytes += int(byte_counts[target])
    return nats, byte_nats, n_bytes


@settings(deadline=None, max_examples=25)
@given(
    batch_size=st.integers(1, 5),
    seq_len=st.integers(1, 32),
    chunk=st.integers(1, 70),
    softcap=st.sampled_from([None, 3.0]),
)
def test_figures_equal_those_of_the_slow_twin(batch_size, seq_len, chunk, softcap):
    subject, tokens = model(logit_softcap=softcap).eval(), token_set()
    result = evaluate(subject, tokens, TOKENIZER, batch_size=batch_size, seq_len=seq_len, chunk=chunk)
    nats, byte_nats, n_bytes = slow(subject, tokens, TOKENIZER, seq_len)
    # float32 log-probabilities of about 6 nats, each rounded to within 1e-6, batched in another order
    assert result.nats == pytest.approx(sum(nats), rel=1e-5)
    assert result.byte_nats == pytest.approx(byte_nats, rel=1e-5)
    assert (result.tokens, result.bytes) == (tokens.n_tokens - 1, n_bytes)
    assert result.bits_per_byte == pytest.approx(byte_nats / n_bytes / math.log(2), rel=1e-5)
    assert result.nats_per_token == pytest.approx(np.mean(nats), rel=1e-5)
    assert result.perplexity == pytest.approx(math.exp(np.mean(nats)), rel=1e-4)
    assert result.standard_error == pytest.approx(np.std(nats) / math.sqrt(len(nats)), rel=1e-3)


def test_the_bytes_are_those_of_the_raw_text():
    tokens = token_set()
    result = evaluate(model(), tokens, TOKENIZER, batch_size=2, seq_len=16)
    assert result.bytes == tokens.n_bytes  # every token but the first BOS is a target, and BOS has no bytes
    assert result.byte_nats < result.nats


def test_padding_has_no_bytes_even_where_id_0_is_text():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "<|end|>"])}, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    foreign = ByteBPE(library, bos="<|end|>", eos="<|end|>")
    assert foreign.token_bytes()[0] == 1
    tokens = token_set(foreign, ["abc"])
    result = evaluate(model(), tokens, foreign, batch_size=4, seq_len=8)
    assert (result.tokens, result.bytes) == (3, 3)


def test_a_uniform_model_needs_the_logarithm_of_the_vocabulary():
    subject = model(init_std=1e-9)
    characters = train_characters(["abcdefgh"])
    tokens = token_set(characters, ["abcdefgh", "hgfedcba"])
    result = evaluate(subject, tokens, characters, batch_size=1, seq_len=8)
    assert result.nats_per_token == pytest.approx(math.log(290), rel=1e-5)
    assert result.perplexity == pytest.approx(290, rel=1e-4)
    assert result.bits_per_byte == pytest.approx(math.log2(290), rel=1e-5)  # a byte a character
    assert result.standard_error == pytest.approx(0, abs=1e-3)


def test_specials_and_unknown_characters_are_left_out_of_bits_per_byte():
    characters = train_characters(["ab"])
    tokens = token_set(characters, ["ab☃", "ba"])
    result = evaluate(model(), tokens, characters, batch_size=1, seq_len=8)
    assert (result.tokens, result.bytes) == (6, 4)  # a b ☃ BOS b a: four letters have bytes


def test_a11_the_model_is_in_evaluation_mode_meanwhile_and_then_as_it_was():
    subject = model(dropout=0.5)
    for training in (True, False):
        subject.train(training)
        first = evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16)
        assert subject.training is training
        assert all(module.training is training for module in subject.modules())
        assert evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16) == first
        assert all(p.grad is None for p in subject.parameters())
    subject.train()
    subject.blocks[0].eval()  # a frozen part stays as it was
    evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16)
    assert subject.training
    assert not subject.blocks[0].training


def test_no_graph_is_kept_for_gradients():
    subject, seen = model(), []
    subject.blocks[0].register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16)
    assert seen
    assert all(seen)


def test_the_mode_comes_back_even_after_an_error():
    subject = model(max_len=8).train()
    with pytest.raises(ValueError):
        evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16)
    assert subject.training


def test_training_goes_on_after_an_evaluation():
    subject = model()
    evaluate(subject, token_set(), TOKENIZER, batch_size=2, seq_len=16)
    subject(torch.arange(8)[None]).sum().backward()
    assert all(p.grad is not None for p in subject.parameters())


def test_a_document_mask_changes_what_is_seen():
    tokens = token_set()
    free, masked = (
        evaluate(model(), tokens, TOKENIZER, batch_size=2, seq_len=32, document_mask=mask)
        for mask in (False, True)
    )
    assert free.tokens == masked.tokens
    assert free.nats != masked.nats


def test_ranks_cover_what_one_process_covers(monkeypatch):
    subject, tokens = model(), token_set()
    whole = evaluate(subject, tokens, TOKENIZER, batch_size=2, seq_len=8)
    parts = []
    # Without other processes to sum over, each rank's own part is what `summed` is given.
    monkeypatch.setattr(bits_per_byte, "summed", lambda values, world: parts.append(values) or values)
    for rank in range(3):
        world = World(rank=rank, size=3)
        evaluate(subject, tokens, TOKENIZER, batch_size=2, seq_len=8, world=world)
    nats, _, n_tokens, _, n_bytes = (sum(column) for column in zip(*parts, strict=True))
    assert nats == pytest.approx(whole.nats, rel=1e-12)
    assert (n_tokens, n_bytes) == (whole.tokens, whole.bytes)


def test_a_part_can_be_evaluated():
    result = evaluate(model(), token_set(), TOKENIZER, batch_size=2, seq_len=8, max_batches=1)
    assert result.tokens == 16
    with pytest.raises(ValueError, match="max_batches is 0"):
        evaluate(model(), token_set(), TOKENIZER, batch_size=2, seq_len=8, max_batches=0)


def test_a12_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(ValueError, match="the tokenizer has 290 ids and the model 289"):
        evaluate(model(289), token_set(), TOKENIZER, batch_size=2, seq_len=8)


def test_r19_nothing_to_score_is_nan_not_a_crash():
    nothing = EvalResult(nats=0.0, squared_nats=0.0, tokens=0, byte_nats=0.0, bytes=0)
    assert math.isnan(nothing.bits_per_byte)
    assert math.isnan(nothing.nats_per_token)
    assert math.isnan(nothing.standard_error)
    huge = EvalResult(nats=1e6, squared_nats=1e12, tokens=1, byte_nats=1e6, bytes=1)
    assert huge.perplexity == math.inf
