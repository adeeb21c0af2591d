"""The two foreign models, each imported from its file as a user's is."""

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(params=["gpt2_like", "llama_like"])
def subject(request):
    """The module; it is made anew for each test, so that no test leaves anything behind."""
    spec = importlib.util.spec_from_file_location(request.param, HERE / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    yield spec.loader.exec_module(module) or module
    del sys.modules[spec.name]
