"""R17: text files → tokenizer → training → checkpoint → generation and evaluation, with nothing replaced."""

import math

import pytest
import torch

from trueformer.data.config import DataConfig
from trueformer.data.shards import prepare
from trueformer.evaluation.bits_per_byte import evaluate
from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.load import load_model
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import ScheduleConfig
from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.run import train
from trueformer.training.run_folder import saved_config

RHYME = "one for sorrow, two for joy, three for a girl, four for a boy, five for silver, six for gold."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Thirty short text files."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(30):
        (folder / f"{number}.txt").write_text(f"{RHYME}\nverse {number}.\n")
    return folder


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A finished run: BPE, default optimizer, warm-up, bf16 autocast, two micro-batches a step."""
    folder = tmp_path_factory.mktemp("runs") / "rhyme"
    data = DataConfig(source=str(corpus), vocab_size=300, seq_len=48, cache=str(folder.parent / "cache"))
    vocab_size = prepare(data).tokenizer.vocab_size
    config = RunConfig(
        model=DecoderConfig(vocab_size=vocab_size, max_len=96, d_model=48, n_layers=2, n_heads=3),
        data=data,
        schedule=ScheduleConfig(kind="linear", warmup_steps=10),
        loop=LoopConfig(steps=150, batch_size=8, micro_batch_size=4, compile=False, eval_every=50,
                        sample_prompt="one for", sample_tokens=20, sample_temperature=0.0, device="cpu"),
    )  # fmt: skip
    return train(config, folder)


def test_r17_the_loss_falls_well_below_its_start(run):
    records = read_json_lines(run.folder / "metrics.jsonl")
    losses = [r["loss"] for r in records if r["event"] == "step"]
    evaluations = [r["loss"] for r in records if r["event"] == "evaluate"]
    assert losses[0] == pytest.approx(math.log(300), rel=0.1)  # it knows nothing
    assert losses[-1] < losses[0] / 5
    assert evaluations[-1] < evaluations[0]
    assert run.evaluation.bits_per_byte < 1.0  # 8 for random bytes, and the text repeats itself


def test_r17_the_run_is_loaded_and_writes_what_it_read(run):
    loaded = load_model(run.folder)
    prompt = loaded.tokenizer.encode("one for sorrow, two", bos=True)
    written = generate(loaded.model, [prompt], SamplingConfig(temperature=0.0), max_new_tokens=20)
    assert loaded.tokenizer.decode(written[0].ids).startswith(" for joy, three for a girl")
    assert run.sample.startswith("one for sorrow, two for joy")


def test_r17_the_loaded_model_is_as_good_as_the_trained_one(run):
    """Evaluated by itself in float32; the run evaluated under bf16 autocast, which costs up to 2 %."""
    loaded = load_model(run.folder)
    data = prepare(saved_config(run.folder).data)
    result = evaluate(loaded.model, data.validation, loaded.tokenizer, batch_size=8, seq_len=48)
    assert result.tokens == run.evaluation.tokens == data.validation.n_tokens - 1
    assert result.bits_per_byte == pytest.approx(run.evaluation.bits_per_byte, rel=0.02)


def test_r19_prompts_of_one_token_and_batches_of_one_row(run):
    loaded = load_model(run.folder)
    alone = generate(
        loaded.model, [[loaded.tokenizer.bos_id]], SamplingConfig(temperature=0.0), max_new_tokens=5
    )
    assert loaded.tokenizer.decode(alone[0].ids).startswith("one")
    with pytest.raises(ValueError, match="empty"):
        generate(loaded.model, [[]], SamplingConfig(), max_new_tokens=5)
    with torch.no_grad(), pytest.raises(ValueError):
        loaded.model(torch.zeros(1, 0, dtype=torch.int64))
