"""Lets a copy of the model say logits of ours, whatever its class, cache and output are: what is drawn is then known.

Part of `inference.py`. Shapes: V vocabulary.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trueformer.laws.inference_calls import Rows, Writer
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import stirred


class Forced:
    """A copy of the model that says logits of ours; notes how it was called.

    `steps` are the logits (V,) of the first pass, the second and so on, the last for all that follow.
    """

    def __init__(self, writer: Writer, *steps: Tensor) -> None:
        self.writer, self.steps = writer, steps
        self.model = writer.subject.once("forced", lambda: stirred(writer.subject.copied().eval()))
        self.passes, self.with_gradients, self.in_training = 0, False, False

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        handle = self.model.register_forward_hook(lambda module, given, out: _replaced(out, self.say()))
        try:
            yield
        finally:
            handle.remove()

    def say(self) -> Tensor:
        """The logits of this pass, which is noted."""
        logits_V = self.steps[min(self.passes, len(self.steps) - 1)]
        self.passes += 1
        self.with_gradients |= torch.is_grad_enabled()
        self.in_training |= self.model.training
        return logits_V

    def write(self, prompts: Rows, n_new: int, **options: Any) -> Rows:
        """New tokens of each row under the forced logits.

        Raises:
            NotApplicable: nothing that generate runs makes logits as a whole.
        """
        seen = self.writer.subject.once("how logits are forced", self._how)
        with seen(self):
            return self.writer.write(self.model, prompts, n_new, **options)

    def _how(self) -> Callable[["Forced"], AbstractContextManager[Any]]:
        """A hook on the model where generate calls it, else on its last product."""
        trial = Forced(self.writer, self.steps[0])
        for way in (Forced._hooked, _Products):
            with way(trial):
                self.writer.write(self.model, self.writer.prompts[:1], 1, **self.writer.greedy)
            if trial.passes:
                if way is _Products and not trial._says_as_forced():
                    break
                return way
        raise NotApplicable("where generate makes its logits cannot be seen")

    def _says_as_forced(self) -> bool:
        """Whether nothing comes after the last product, such as a cap, that would change what was forced."""
        subject = self.writer.subject
        with _Products(self):
            logits_V = subject.logits(subject.ids(1, 1), self.model)[0, -1]
        return bool(torch.allclose(logits_V.float(), self.steps[0], atol=0.02))

    def draws(self, **options: Any) -> list[int]:
        """Many tokens, drawn one after another: rows of a batch if they are drawn apart, else one seed after another."""
        writer = self.writer
        large = sum(p.numel() for p in self.model.parameters()) > 2e6
        prompt = writer.prompts[0][:1]
        room = max(1, (writer.subject.max_len or 64) - 1)
        if writer.batches and not writer.rows_alike:
            rows = self.write([prompt] * 32, min(room, 3 if large else 4), **options)
            if any(row != rows[0] for row in rows):
                return [token for row in rows for token in row]
            if len(set(rows[0])) > 1:  # each row begins its own random numbers alike
                writer.rows_alike = True
        seeds = [{"seed": i} if "seed" in writer.names else {"luck": i} for i in range(8)]
        first = self.write([prompt], min(room, 8), **options | seeds[0])[0]
        more = seeds[1:3] if len(set(first)) == 1 else seeds[1:]
        rows = [self.write([prompt], min(room, 8), **options | seed)[0] for seed in more]
        return [*first, *(token for row in rows for token in row)]


class _Products(TorchDispatchMode):
    """Replaces the products that are as wide as the vocabulary, for whoever does not call the model as a whole."""

    def __init__(self, forced: Forced) -> None:
        super().__init__()
        self.forced, self.width = forced, len(forced.steps[0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        product = func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul")
        if product and isinstance(out, Tensor) and out.shape[-1:] == (self.width,):
            return _replaced(out, self.forced.say())
        return out


def _replaced(out: Any, logits_V: Tensor) -> Any:
    """The output with other logits, in the same kind of object."""

    def is_logits(part: Any) -> bool:
        return (
            isinstance(part, Tensor)
            and part.is_floating_point()
            and part.ndim >= 2
            and part.shape[-1] == len(logits_V)
        )

    if is_logits(out):
        return logits_V.to(out).expand(out.shape).clone()
    if isinstance(out, dict) or hasattr(out, "logits"):
        changed = copy.copy(out)
        for name in [*out] if isinstance(out, dict) else ["logits"]:
            part = out[name] if isinstance(out, dict) else out.logits
            if is_logits(part):
                new = _replaced(part, logits_V)
                changed.__setitem__(name, new) if isinstance(out, dict) else setattr(changed, name, new)
                break
        return changed
    if isinstance(out, tuple | list):
        first = next((i for i, part in enumerate(out) if is_logits(part)), None)
        parts = [_replaced(part, logits_V) if i == first else part for i, part in enumerate(out)]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    return out


def four_ids(writer: Writer) -> list[int]:
    """Four ids that end nothing.

    Raises:
        NotApplicable: the vocabulary is too small.
    """
    ends = {writer.default("eos")} if "eos" in writer.names else set()
    usual = [i for i in writer.subject.usual_ids.tolist() if i not in ends and i not in writer.prompts[0][:1]]
    if len(usual) < 8:
        raise NotApplicable("the vocabulary is too small to draw from")
    return [usual[len(usual) * i // 8] for i in (1, 5, 3, 6)]


def masses(writer: Writer, shares: Sequence[float]) -> Tensor:
    """Logits under which the four ids have these shares, and the others none to speak of."""
    logits_V = torch.full((writer.subject.vocab_size or 0,), -60.0)
    logits_V[four_ids(writer)] = torch.tensor(shares).log()
    return logits_V


def peaked(writer: Writer, token: int) -> Tensor:
    """Logits under which nothing but this token is drawn."""
    logits_V = torch.full((writer.subject.vocab_size or 0,), -60.0)
    logits_V[token] = 0.0
    return logits_V
