import pytest
import torch

from trueformer.training.config import LoopConfig
from trueformer.training.precision import (
    COMPILE_PAYS_FLOPS,
    autocast,
    compile_pays,
    parameter_dtype,
    resolve_device,
    supports_bf16,
)

CPU = torch.device("cpu")


def test_r9_bf16_autocast_computes_matrices_in_bf16_and_parameters_stay_float32():
    layer = torch.nn.Linear(8, 8)
    with autocast(LoopConfig(precision="bf16"), CPU):
        assert layer(torch.ones(1, 8)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    with autocast(LoopConfig(precision="float32"), CPU):
        assert layer(torch.ones(1, 8)).dtype == torch.float32


def test_a_device_without_bf16_is_told_and_trains_in_float32():
    mps = torch.device("mps")
    assert not supports_bf16(mps)
    with pytest.warns(UserWarning, match="precision bf16 is ignored: mps"), autocast(LoopConfig(), mps):
        assert not torch.is_autocast_enabled("cpu")


def test_parameters_are_stored_as_asked():
    assert parameter_dtype(LoopConfig()) == torch.float32
    assert parameter_dtype(LoopConfig(parameters="bf16")) == torch.bfloat16


def test_devices_by_name():
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA device"):
            resolve_device("cuda")


def test_r9_compile_is_on_by_default_where_it_pays():
    long, short = 7 * COMPILE_PAYS_FLOPS["cpu"], 5 * COMPILE_PAYS_FLOPS["cpu"]  # for six layers
    assert compile_pays(LoopConfig(), long, 6, CPU)
    assert not compile_pays(LoopConfig(), short, 6, CPU)
    assert compile_pays(LoopConfig(compile=True), short, 6, CPU)
    assert not compile_pays(LoopConfig(compile=False), long, 6, CPU)
    assert not compile_pays(LoopConfig(backend="plain"), long, 6, CPU)


def test_without_a_compiler_nothing_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compile_pays(LoopConfig(), 1e30, 6, CPU)
