"""Sinusoidal positions against the paper's formula."""

import math

import pytest
import torch

from trueformer.nn.embeddings import SinusoidalPositions


@pytest.mark.parametrize("width", [1, 6, 7])
def test_sinusoids_are_the_papers(width):
    table = SinusoidalPositions(50, width).bfloat16()
    y = table(torch.tensor([[0, 3, 49]]))
    assert y.dtype == torch.float32
    for t, position in enumerate((0, 3, 49)):
        for c in range(width):
            angle = position / 10_000 ** (2 * (c // 2) / width)
            expected = math.sin(angle) if c % 2 == 0 else math.cos(angle)
            assert y[0, t, c].item() == pytest.approx(expected, abs=1e-7)
    assert table.state_dict() == {}
