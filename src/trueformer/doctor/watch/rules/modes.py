"""Whether the model learns in train mode and is evaluated in eval mode."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.doctor.watch.run import CrossEntropy, Forward
from trueformer.laws.law import Law, write


class Mode(Rule):
    """Judges live/mode."""

    law = write(
        Law(
            id="live/mode",
            statement="A model with dropout is updated in train mode, and its loss is measured in eval mode.",
            source="Srivastava et al. 2014: units are dropped in training and kept in evaluation.",
            looks=(
                "Reads the mode of each outermost module when it is called, and what is then done with its "
                "output."
            ),
            tolerance=(
                "Exact. Only models that hold dropout above 0 are judged, and only those that an optimizer "
                "moves."
            ),
            symptoms=(
                "Validation loss is noisy and too high; or the model overfits after its first evaluation."
            ),
            causes=(
                "eval() without train() after it; a checkpoint library that returns models in eval mode; no"
                " eval()."
            ),
            lesson=(
                "After model.eval(); evaluate(model) all later steps train without dropout, unless train() "
                "is called."
            ),
        )
    )
    unjudged = "no model with dropout stepped"

    def prepare(self) -> None:
        self._called: dict[int, tuple[Forward, str]] = {}
        self._used: list[tuple[Forward, str]] = []
        self._drops: dict[int, bool] = {}
        self._trained_before = False

    def forward_begins(self, forward: Forward) -> None:
        if forward.builds_graph:
            self._called[id(forward.module())] = (forward, place() if not forward.training else "")

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        self._used += self._called.values()
        self._called = {}

    def step_ends(self, owner: Owner) -> None:
        used, self._used = self._used, []
        for forward, at in used:
            module = forward.module()
            if module is None or not self._drops_out(module) or not _moves(owner, module):
                continue
            self.judged += 1
            self._trained_before |= forward.training
            if not forward.training:
                self._in_eval_mode(at)
                return

    def _in_eval_mode(self, at: str) -> None:
        since = "eval() was called, and train() was not called after it" if self._trained_before else ""
        self.broke(
            f"a step was taken with a gradient computed in eval mode: dropout was off. {since}".strip(),
            measured=1,
            bound=0,
            at=at,
        )

    def cross_entropy(self, loss: CrossEntropy) -> None:
        forward = self.run.forward
        module = forward.module() if forward else None
        if forward is None or module is None or forward.builds_graph or loss.reduction == "none":
            return
        trained = any(_moves(owner, module) for owner in self.run.all_owners())
        if forward.training and trained and self._drops_out(module):
            self.broke(
                "a loss is measured without gradients in train mode: dropout is on", measured=1, bound=0
            )

    def _drops_out(self, module: nn.Module) -> bool:
        if id(module) not in self._drops:
            self._drops[id(module)] = any(_rate(m) > 0 for m in module.modules())
        return self._drops[id(module)]


def _rate(module: nn.Module) -> float:
    if isinstance(module, _DropoutNd):
        return float(module.p)
    return float(module.dropout) if isinstance(module, nn.MultiheadAttention) else 0.0


def _moves(owner: Owner, module: nn.Module) -> bool:
    return any(id(p) in owner.ids for p in module.parameters())


class EvalNoGrad(Rule):
    """Judges live/eval-no-grad."""

    law = write(
        Law(
            id="live/eval-no-grad",
            statement="Evaluation builds no graph.",
            source="torch.no_grad: what is not differentiated need not keep its activations.",
            looks="Counts calls in eval mode whose output could be differentiated, and no backward follows.",
            tolerance="Advice, after three such calls in a row.",
            symptoms="Evaluation needs as much memory as training, and runs out of it first.",
            causes="A missing torch.no_grad() or torch.inference_mode() around evaluation or generation.",
            lesson=(
                "with torch.no_grad(): around the evaluation gives the same numbers with a fraction of the "
                "memory."
            ),
            advice=True,
        )
    )
    unjudged = "no model was called in eval mode"

    def prepare(self) -> None:
        self._unused = 0

    def forward_ends(self, forward: Forward, output: object) -> None:
        self.judged += not forward.training
        if forward.training or not forward.builds_graph or not _differentiable(output):
            return
        self._unused += 1
        if self._unused >= 3:
            self.broke(
                "the model is called in eval mode with gradients on, and no backward follows",
                measured=3,
                bound=0,
            )

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        self._unused = 0


def _differentiable(output: object) -> bool:
    """Whether a tensor, or one in a list, tuple or dictionary of them, has a graph."""
    if isinstance(output, Mapping):
        output = list(output.values())
    parts = output if isinstance(output, list | tuple) else [output]
    return any(isinstance(part, Tensor) and part.requires_grad for part in parts)
