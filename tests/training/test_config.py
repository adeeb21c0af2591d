import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trueformer
from trueformer.config import from_dict, to_dict
from trueformer.data.config import DataConfig
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import ScheduleConfig
from trueformer.training.config import LoopConfig, RunConfig

MODEL = DecoderConfig(vocab_size=300, max_len=32, d_model=16, n_layers=1, n_heads=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", -5),
        ("batch_size", 0),
        ("micro_batch_size", 0),
        ("micro_batch_size", 5),
        ("seed", -1),
        ("eval_every", 0),
        ("eval_batches", 0),
        ("checkpoint_every", -1),
        ("keep_last", 0),
        ("sample_every", -1),
        ("patience", 0),
        ("max_bad_steps", 0),
        ("watch_gradients", -1),
        ("loss_chunk", 0),
        ("grad_clip", 0.0),
        ("grad_clip", float("nan")),
        ("z_loss", -0.1),
        ("label_smoothing", 1.0),
    ],
)
def test_r14_impossible_loop_values_are_refused_by_name_and_value(field, value):
    with pytest.raises(ValueError, match=f"{field} is {re.escape(repr(value))}: expected"):
        LoopConfig(**{field: value})


@pytest.mark.parametrize("field", ["precision", "parameters"])
def test_float16_is_refused(field):
    """In a process of its own, since here argument types are checked before the configuration is."""
    code = f"from trueformer.training.config import LoopConfig; LoopConfig({field}='float16')"
    error = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr
    assert f"ValueError: {field} is 'float16': expected 'float32' or 'bf16'" in error


def test_bf16_parameters_with_float32_computation_contradict_each_other():
    with pytest.raises(ValueError, match="parameters are bf16 but precision is float32"):
        LoopConfig(parameters="bf16", precision="float32")


def test_n5_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="warmup_steps is 101, more than all 100 steps"):
        RunConfig(model=MODEL, data=DataConfig(seq_len=8), loop=LoopConfig(steps=100),
                  schedule=ScheduleConfig(warmup_steps=101))  # fmt: skip


def test_rows_longer_than_the_model_are_refused():
    with pytest.raises(ValueError, match="seq_len is 33, longer than the model's max_len = 32"):
        RunConfig(model=MODEL, data=DataConfig(seq_len=33))


@given(
    st.fixed_dictionaries(
        {
            "steps": st.integers(200, 10**6),
            "batch_size": st.sampled_from([8, 16]),
            "micro_batch_size": st.sampled_from([None, 2, 4]),
            "compile": st.sampled_from([None, True, False]),
            "grad_clip": st.none() | st.floats(0.1, 10),
            "track": st.sampled_from([(), ("tensorboard",), ("trackio", "wandb")]),
        }
    )
)
@settings(deadline=None, max_examples=25)
def test_a_config_survives_json(loop):
    config = RunConfig(model=MODEL, data=DataConfig(seq_len=8), loop=LoopConfig(**loop))
    assert from_dict(RunConfig, to_dict(config)) == config


def test_t13_one_name_for_one_thing():
    """`max_seq_len` here and `max_len` there made every script crash: unknown names are refused."""
    values = to_dict(MODEL) | {"max_seq_len": 8}
    with pytest.raises(ValueError, match="unknown key 'max_seq_len'; did you mean 'max_len'"):
        from_dict(DecoderConfig, values)


def test_r10_what_the_loop_does_every_so_often_is_configured():
    """No interval or threshold is written into the loop: each is a field, and each field is read."""
    source = "".join(
        path.read_text()
        for path in Path(trueformer.__file__).parent.rglob("*.py")
        if path.name != "config.py"
    )
    for field in dataclasses.fields(LoopConfig):
        assert re.search(rf"(loop|config)\.{field.name}\b", source), f"{field.name} is never read"
    loop = (Path(trueformer.__file__).parent / "training" / "loop.py").read_text()
    assert not re.search(r"% *\d+|\b\d{2,}\b(?!\])", re.sub(r'"""[\s\S]*?"""|#.*', "", loop))


def test_configurations_import_no_torch():
    code = "import sys, trueformer.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
