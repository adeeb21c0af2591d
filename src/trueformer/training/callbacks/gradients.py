"""Gradient norms and update ratios of every parameter, in `gradients.jsonl`, every so many steps.

A ratio ‖Δw‖/‖w‖ near 1e-3 a step is usual; 0 is a parameter that does not train, 1e-1 one that is being
thrown about. Weights are copied only on the steps that are watched and only from the backward pass to the
update, so the cost is one model's memory for part of one step in `every`. Leaves out activations, and doing
anything about what it sees.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trueformer.training.callbacks.json_lines import JsonLines
from trueformer.training.callbacks.protocol import Callback, Start, Step, Stop

FILE = "gradients.jsonl"


class GradientMonitor(Callback):
    """Writes on rank 0, by parameter name: `gradients` and `weights` (L2 norms, unclipped), `ratios`."""

    name = "gradients"

    def __init__(self, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"watch_gradients is {every}: expected at least 1 step between records")
        self.every = every
        self._lines: JsonLines | None = None
        self._model: nn.Module | None = None
        self._before: dict[str, Tensor] = {}
        self._gradients: dict[str, float] = {}

    def on_start(self, event: Start) -> None:
        if event.rank == 0:
            self._model = event.model
            self._lines = JsonLines(event.folder / FILE, event.step)

    @torch.no_grad()
    def on_gradients(self, step: int) -> None:
        if self._model is None or step % self.every:
            return
        named = {name: p for name, p in self._model.named_parameters() if p.grad is not None}
        self._gradients = _norms((name, p.grad) for name, p in named.items() if p.grad is not None)
        self._before = {name: p.detach().clone() for name, p in named.items()}

    @torch.no_grad()
    def on_step(self, event: Step) -> None:
        """Write the norms and update ratios of a step that was watched."""
        if self._lines is None or self._model is None or not self._before:
            return
        after = dict(self._model.named_parameters())
        weights = _norms(self._before.items())
        changes = _norms((name, after[name].float() - w.float()) for name, w in self._before.items())
        ratios = {name: changes[name] / weight if weight else None for name, weight in weights.items()}
        self._before = {}
        record = {"gradients": self._gradients, "weights": weights, "ratios": ratios}
        self._lines.write({"step": event.step} | record)

    def on_stop(self, event: Stop) -> None:
        self._before = {}
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def _norms(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """L2 norms in float32, brought to the host in one transfer; tensors may be made one at a time."""
    norms = {name: torch.linalg.vector_norm(tensor, dtype=torch.float32) for name, tensor in tensors}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True)) if norms else {}
