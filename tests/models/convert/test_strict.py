"""Strict loading: the first differences are named, and nothing is copied when there is one (finding T10)."""

import pytest
import torch

from trueformer.models.convert.strict import check_names_and_shapes, fill, parameter_shapes

EXPECTED = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4,)}


def test_equal_names_and_shapes_pass() -> None:
    check_names_and_shapes(EXPECTED, dict(reversed(EXPECTED.items())), "file")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"a.weight": (2, 3), "b.weight": (4,)},
            r"file does not fit .*: a\.bias is missing, expected \[2\]\. The",
        ),
        (EXPECTED | {"a.weight": (3, 2)}, r": a\.weight is \[3, 2\], expected \[2, 3\]\. The"),
        (EXPECTED | {"c": (1,)}, r": c \[1\] is not part of this model\. The"),
        ({}, r"a\.weight is missing.*a\.bias is missing.*b\.weight is missing"),
        (
            EXPECTED | {f"x{i}": (1,) for i in range(9)},
            r"x3 \[1\] is not part of this model; and 5 more\. The",
        ),
    ],
)
def test_t10_the_first_differing_names_and_shapes_are_named(found: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_names_and_shapes(EXPECTED, found, "file")


def test_fill_copies_every_parameter_into_the_models_own_dtype() -> None:
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    values = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([7.0, 8.0])}
    fill(model, values.__getitem__)
    assert parameter_shapes(model) == {"weight": (2, 3), "bias": (2,)}
    assert model.weight.dtype == torch.bfloat16
    assert model.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert model.bias.tolist() == [7, 8]
