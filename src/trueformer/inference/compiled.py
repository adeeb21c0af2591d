"""Decoding with a compiled step: one token a row against a static cache, weights frozen into the code.

At batch 1 decoding is reading weights from memory. Eager linear layers on a CPU read at a third of what the
memory gives; inductor's own small-matrix kernels over weights packed at compile time, projections of one
input joined, and attention fused with what surrounds it come close to all of it. Compiling takes from half a
minute to two for 30 layers, once for each decoder; inductor's cache on disk makes it shorter the next time.

A decoder is a snapshot: weights changed afterwards are not seen. Prompts run eagerly. Leaves out growing: the
cache's length is fixed.

    fast = CompiledDecoder(model.to(torch.bfloat16), max_len=512)
    generate(fast, [[1, 2, 3]], max_new_tokens=100)

Shapes: B batch, V vocabulary.
"""

import itertools
import types
from collections.abc import Callable, Sequence

import torch
import torch._inductor.config as inductor
from jaxtyping import Float, Int
from torch import Tensor

from trueformer.inference.steps import Steps, last_logits, left_padded
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import StaticKVCache

CPU_OPTIONS = {
    "freezing": True,  # weights are constants, packed when compiling
    "max_autotune": True,
    # One candidate for each matrix product, so nothing is timed: what is picked does not depend on what else
    # the machine was doing, and compiling is shorter.
    "max_autotune_gemm_backends": "CPP",
    "cpp.enable_concat_linear": True,  # queries, keys and values in one product, gate and up in another
}
_serial = itertools.count()


class CompiledDecoder(Steps):
    """A model compiled for `batch_size` rows of up to `max_len` tokens; used where a model is, by `generate`.

    Raises:
        ValueError: a model in training mode, or sizes that do not fit it.
    """

    def __init__(self, model: DecoderLM, *, max_len: int, batch_size: int = 1) -> None:
        if model.training:
            raise ValueError("the model is in training mode, where dropout acts: call model.eval() first")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: expected a whole number of rows, at least 1")
        self.model, self.config = model, model.config
        self.batch_size, self.max_len = batch_size, max_len
        with torch.inference_mode():
            self._cache = StaticKVCache(
                self.config, batch_size, max_len, dtype=model.embedding.weight.dtype, device=self.device
            )
            self._compile()

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    def _compile(self) -> None:
        model, cache = self.model, self._cache

        def decode(ids_B1: Tensor) -> Tensor:
            return last_logits(model, ids_B1, cache)

        self._decode = torch.compile(
            distinct(decode),
            fullgraph=True,
            dynamic=False,
            # Checking each step that no module changed takes a tenth of it; see the snapshot above.
            options={"guard_filter_fn": lambda guards: [False] * len(guards)},
        )
        self._start([])
        with inductor.patch(CPU_OPTIONS if self.device.type == "cpu" else {}):
            self._decode(torch.zeros(self.batch_size, 1, dtype=torch.long, device=self.device))

    def _start(self, lengths: Sequence[int]) -> None:
        """Empty the cache for rows of these lengths; rows missing from the batch count as one token."""
        start_B = None
        if self.batch_size > 1:
            longest = max(lengths, default=1)
            missing = [1] * (self.batch_size - len(lengths))
            start_B = torch.tensor([longest - n for n in [*lengths, *missing]], device=self.device)
        self._cache.reset(start_B)
        self._filled = 0

    def refuse(self, n_rows: int, length: int) -> None:
        """Raise ValueError where more rows or tokens are asked for than it was compiled for."""
        if n_rows > self.batch_size:
            raise ValueError(
                f"{n_rows} prompts for a decoder compiled for {self.batch_size}: "
                "give fewer at a time, or compile with a greater batch_size"
            )
        if length > self.max_len:
            raise ValueError(
                f"prompt and new tokens come to {length}, and the decoder was compiled for {self.max_len}: "
                "ask for fewer, or compile with a greater max_len"
            )

    def prefill(self, rows: Sequence[Sequence[int]], length: int) -> Float[Tensor, "B V"]:
        """Start afresh with these rows, eagerly; logits of the token after each."""
        missing = [[0]] * (self.batch_size - len(rows))
        ids_BT, _ = left_padded([*rows, *missing], self.device)
        with torch.inference_mode():
            self._start([len(row) for row in rows])
            self._filled, self._n_rows = ids_BT.shape[1], len(rows)
            return last_logits(self.model, ids_BT, self._cache)[: self._n_rows]

    def decode(self, tokens_B: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        assert not self.full(), "the caller prefills anew when the cache is full"
        ids_B1 = torch.zeros(self.batch_size, 1, dtype=torch.long, device=self.device)
        ids_B1[: self._n_rows, 0] = tokens_B
        self._filled += 1
        with torch.inference_mode():
            return self._decode(ids_B1)[: self._n_rows]

    def full(self) -> bool:
        return self._filled == self.max_len


def distinct(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function under a code object of its own, to be compiled apart from others.

    Dynamo keeps compiled code by code object and tells entries apart by guards. Without guards, two decoders
    that share one would run each other's model.
    """
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_name=f"decode_{next(_serial)}")
    return types.FunctionType(code, function.__globals__, code.co_name, None, function.__closure__)
