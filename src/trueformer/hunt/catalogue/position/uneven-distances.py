"""Pairs of channels are turned as complex numbers are, in either direction, and other channels stay."""

import random

import torch

from trueformer.nn.rotary import apply_rotary


def probe(pick: random.Random) -> None:
    """Products with e^{iθ}, or with e^{-iθ}; lengths and products of two turned vectors follow from that."""
    R, rest = pick.randrange(1, 6), pick.choice([0, 2, 4])
    layout = pick.choice(["half", "interleaved"])
    x_BTNH = torch.randn(2, pick.randrange(2, 9), 3, 2 * R + rest)
    angle_BTR = torch.randn(2, x_BTNH.shape[1], R) * 4
    y_BTNH = apply_rotary(x_BTNH, (angle_BTR.cos(), angle_BTR.sin()), layout, "plain")
    given, gave = (_pairs(x, R, layout) for x in (x_BTNH, y_BTNH))
    turn = torch.polar(torch.ones_like(angle_BTR), angle_BTR)[:, :, None]
    forward, back = ((given * t - gave).abs().max() for t in (turn, turn.conj()))
    assert min(forward, back) < 1e-4, "not turned by the angle"
    torch.testing.assert_close(y_BTNH[..., 2 * R :], x_BTNH[..., 2 * R :])


def _pairs(x: torch.Tensor, R: int, layout: str) -> torch.Tensor:
    halves = (x[..., :R], x[..., R : 2 * R])
    neighbours = (x[..., 0 : 2 * R : 2], x[..., 1 : 2 * R : 2])
    return torch.complex(*(part.contiguous() for part in (halves if layout == "half" else neighbours)))
