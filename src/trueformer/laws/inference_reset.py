"""What a cache leaves behind: what is reset is new again, and what is written is not held. Part of `inference.py`."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.laws.counted import none_of
from trueformer.laws.inference_cache import TOLERANCE, compared, new_cache
from trueformer.laws.inference_calls import writer_of
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

RESETS = ("reset", "clear", "reset_cache", "clear_cache")


@law(
    "inference/cache-reset",
    statement="A cache that was reset is as good as a new one.",
    source="N11 of the catalogue of defects",
    looks="Feeds a text with the owner's cache, resets it, feeds another, and compares with a pass without a cache.",
    tolerance=TOLERANCE,
    symptoms="The second conversation knows what the first one said; or positions go on where it ended.",
    causes="The length or the position stays; one layer is forgotten.",
    needs=("cache",),
)
def cache_reset(subject: Subject) -> Evidence:
    """Old keys may stay in memory as long as nothing sees them: `self.length = 0` is enough, and is needed."""
    half = subject.length // 2
    kept = new_cache(subject, 2, subject.length)
    resets = [reset for thing in kept.values() if (reset := reset_of(thing)) is not None]
    if not resets or not half:
        raise NotApplicable(f"the cache has none of {', '.join(RESETS)}")
    first, second = subject.ids(2, half), subject.ids(2, half, seed=4)
    subject.call(subject.exact, first, **kept)
    for reset in resets:
        reset()
    got = subject.call(subject.exact, second, **kept).logits
    return compared(
        subject, got, subject.logits(second), "after reset() the cache still knows of the first text"
    )


def reset_of(thing: Any) -> Callable[[], Any] | None:
    """What makes a cache new again, by the usual names."""
    found = (getattr(thing, name, None) for name in RESETS)
    return next((method for method in found if callable(method)), None)


@law(
    "inference/frees",
    statement="When a text is written, the model holds no more memory than a pass over it needs.",
    source="N11 of the catalogue of defects",
    looks="Counts the bytes that the modules hold after a pass over a text, and after writing it.",
    tolerance="0 bytes more. A cache that is kept to be used again costs memory and is not wrong.",
    symptoms="After the first sample during training less memory is left.",
    causes="A cache inside the attention that nobody resets.",
    needs=("generate",),
    advice=True,
)
def frees(subject: Subject) -> Evidence:
    """Keys and values of 4096 tokens, 32 layers and 32 heads of 128 channels take 2 GiB in bf16, for each row."""
    writer = writer_of(subject)
    model = writer.make()
    ids = torch.tensor(
        [writer.prompts[0] + [writer.prompts[0][0]] * writer.n_new], device=subject.ids(1, 1).device
    )
    subject.call(model, ids)  # tables that are made when they are first needed are no cache
    before = bytes_held(model)
    writer.write(model, writer.prompts[:1], writer.n_new, **writer.greedy)
    more = bytes_held(model) - before
    return none_of(max(0, more), unit="bytes", saw=f"after writing, the model holds {more} bytes more")


def bytes_held(model: nn.Module) -> int:
    """The bytes of all tensors that the modules hold, each memory once."""
    found: dict[int, int] = {}
    for module in model.modules():
        for tensor in _tensors(vars(module), 4):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _tensors(thing: Any, depth: int) -> Iterator[Tensor]:
    """The tensors in a thing, in lists and dictionaries of them, and in objects that are no modules."""
    if isinstance(thing, Tensor):
        yield from [thing] * (thing.layout is torch.strided and not thing.is_meta)
    elif depth and not isinstance(thing, nn.Module):
        parts = (
            thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
        )
        for part in parts or list(getattr(thing, "__dict__", {}).values()):
            yield from _tensors(part, depth - 1)
