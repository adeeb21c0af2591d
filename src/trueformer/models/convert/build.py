"""From a configuration and a file's tensors to a model, refusing before anything large is made.

Leaves out where the tensors come from.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.names import Place, places, their_shapes, to_ours
from trueformer.models.convert.strict import check_names_and_shapes, fill, parameter_shapes
from trueformer.models.decoder import DecoderLM
from trueformer.nn.plain import Backend

MAX_POSITIONS = 2**21  # the rotary tables of more would take gigabytes, at a stranger's word


def expected_shapes(config: DecoderConfig, n_tensors: int, where: str) -> dict[str, tuple[int, ...]]:
    """Our parameters' names and shapes, at no cost in memory; `n_tensors` is how many the file has.

    Raises:
        ValueError: a configuration no file of that many tensors can fill, or one too long to make tables for.
    """
    if config.n_layers > n_tensors:
        raise ValueError(
            f"{where}: {config.n_layers} layers are configured and the weights are {n_tensors} tensors"
        )
    if config.max_len > MAX_POSITIONS:
        raise ValueError(
            f"{where}: {config.max_len} positions are configured, expected at most {MAX_POSITIONS}"
        )
    if config.positions != "learned":  # its tables would be made even where weights take no memory
        config = dataclasses.replace(config, max_len=1)
    return parameter_shapes(_outline(config, "fast"))


def _outline(config: DecoderConfig, backend: Backend) -> DecoderLM:
    """The model without memory for its weights."""
    with torch.device("meta"), _Undrawn():
        return DecoderLM(config, backend=backend)


class _Undrawn(TorchFunctionMode):
    """Leaves out the drawing of random weights, which on the meta device would import the whole compiler."""

    DRAWS = ("normal_", "uniform_", "kaiming_uniform_")

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build(
    config: DecoderConfig, read: Callable[[str], Tensor], *, dtype: torch.dtype, backend: Backend
) -> DecoderLM:
    """A model in evaluation mode with `read(our name)` in every parameter, never initialised at random."""
    model = _outline(config, backend).to_empty(device="cpu").to(dtype).eval()
    fill(model, read)
    return model


def build_from_theirs(
    config: DecoderConfig,
    table: Mapping[str, Place],
    found: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor],
    *,
    where: str,
    dtype: torch.dtype,
    backend: Backend,
) -> DecoderLM:
    """A model from somebody else's tensors: `found` are their names and shapes, `read` gives one.

    Raises:
        ValueError: the tensors are not exactly those the configuration asks for.
    """
    shapes = expected_shapes(config, len(found), where)
    at = places(table, shapes)
    check_names_and_shapes(their_shapes(shapes, at), found, where)
    return build(
        config, lambda name: to_ours(read(at[name].name), at[name], config), dtype=dtype, backend=backend
    )
