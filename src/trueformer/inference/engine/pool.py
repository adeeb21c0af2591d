"""Which request has which slot, and what slots still hold: the known beginning of a prompt is not read again.

A freed slot keeps what it holds until it is needed. A new prompt goes to the slot that holds most of its
beginning; where that one is busy, the beginning is copied out of it, which costs a fraction of computing it,
and may be done in the very pass that computes it.
Leaves out the tensors (`nn/slots.py`).
"""

from collections.abc import Sequence

from trueformer.nn.slots import Share, SlotCache

WORTH_REUSING = 8  # tokens: below that, a slot with nothing in common is as good, and keeps others whole


class SlotPool:
    """The first `n_slots` of a cache, free or taken; `held[i]`: what slot i holds after this pass."""

    def __init__(self, cache: SlotCache, n_slots: int) -> None:
        self.cache = cache
        self.held: list[list[int]] = [[] for _ in range(n_slots)]
        self._free = list(range(n_slots))  # the one free for longest first

    @property
    def n_free(self) -> int:
        """How many requests could begin now."""
        return len(self._free)

    def take(self, prompt: Sequence[int]) -> tuple[int, Share | None]:
        """A slot for this prompt with as much of its beginning as any holds; what the pass must copy to it.

        At least the last token of the prompt is left to be read, since its logits are wanted.
        """
        assert self._free, "the caller waits for a free slot"
        common = [_common(held, prompt) for held in self.held]
        source = max(range(len(common)), key=lambda i: (common[i], i in self._free))
        reused = min(common[source], len(prompt) - 1)
        if reused < WORTH_REUSING:
            slot, reused = self._emptiest(), 0
        else:
            slot = source if source in self._free else self._emptiest()
        self._free.remove(slot)
        self.held[slot] = list(prompt[:reused])
        if slot == source or not reused:
            self.cache.cut(slot, reused)
            return slot, None
        return slot, Share(source, slot, reused)

    def _emptiest(self) -> int:
        empty = [slot for slot in self._free if not self.held[slot]]
        return (empty or self._free)[0]

    def release(self, slot: int, *, damaged: bool = False) -> None:
        """Let others have it; what it holds stays until they do, unless that is damaged."""
        assert slot not in self._free, "the slot is free already"
        self._free.append(slot)
        if damaged:
            self.held[slot] = []
            self.cache.erase(slot)


def _common(held: Sequence[int], prompt: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    for i, (a, b) in enumerate(zip(held, prompt, strict=False)):
        if a != b:
            return i
    return min(len(held), len(prompt))
