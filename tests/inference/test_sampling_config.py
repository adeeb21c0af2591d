"""Sampling settings that mean nothing are refused where they are written."""

import math
import subprocess
import sys

import pytest

from trueformer.inference.config import SamplingConfig


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, math.nan, math.inf])
def test_t19_temperature_must_be_a_number_of_at_least_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"temperature is {temperature}: expected 0 \(greedy\) or more"):
        SamplingConfig(temperature=temperature)


@pytest.mark.parametrize("top_p", [0.0, -0.1, 1.0001, math.nan])
def test_t19_top_p_must_be_a_mass(top_p: float) -> None:
    with pytest.raises(ValueError, match=f"top_p is {top_p}: expected above 0 and at most 1"):
        SamplingConfig(top_p=top_p)


@pytest.mark.parametrize("top_k", [0, -5])
def test_t19_top_k_must_keep_a_token(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k is {top_k}: expected at least 1"):
        SamplingConfig(top_k=top_k)


@pytest.mark.parametrize("min_p", [-0.1, 1.1, math.nan])
def test_t19_min_p_must_be_a_share(min_p: float) -> None:
    with pytest.raises(ValueError, match=f"min_p is {min_p}: expected 0"):
        SamplingConfig(min_p=min_p)


@pytest.mark.parametrize("penalty", [0.0, -1.0, math.nan, math.inf])
def test_t19_repetition_penalty_must_be_positive(penalty: float) -> None:
    with pytest.raises(ValueError, match=f"repetition_penalty is {penalty}: expected above 0"):
        SamplingConfig(repetition_penalty=penalty)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_t19_seed_must_fit_a_generator(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed}: expected a whole number"):
        SamplingConfig(seed=seed)


def test_the_limits_themselves_are_allowed() -> None:
    SamplingConfig(temperature=0.0, top_k=1, top_p=1.0, min_p=1.0, seed=2**63 - 1)


def test_settings_are_made_without_importing_torch() -> None:
    code = "import sys, trueformer.inference.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
