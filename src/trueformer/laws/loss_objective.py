"""The loss as it is used: the owner's function of a model and a batch, or of logits, or the model's own.

An `Objective` scores a batch, sees the logits that were scored, and can put others in their place. What convention
it has (targets already shifted, or shifted inside; a mean or a sum) is read from its values: `fit`.
Shapes: B rows, T tokens, V vocabulary.
"""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.laws.data_batches import (
    LOSS_MASKS,
    Batch,
    batches,
    document_numbers,
    replaced,
    slim,
    understood,
)
from trueformer.laws.loss_seen import Passes, Scoring
from trueformer.subject.errors import NotApplicable, NotUnderstood
from trueformer.subject.interface import call_by_name
from trueformer.subject.subject import Subject, stirred

ROWS, TOKENS = 2, 12
MODELS = ("model", "net", "network", "module", "m", "lm", "gpt", "transformer", "self")
SHIFTS = (0, 1, 2, -1)
EXACT = 1e-3  # of the spread of the loss: float32 leaves 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """The loss as `slope` · reference + `offset`, the logits at t scored against targets[t + `shift`].

    `residual` is what this leaves unexplained, as a share of the spread; `terms` the targets in one score.
    """

    shift: int
    slope: float
    offset: float
    residual: float
    terms: int
    rows: int
    values: tuple[float, ...]

    @property
    def matches(self) -> bool:
        """Whether the loss is a cross-entropy up to a factor and a constant."""
        return self.residual <= EXACT

    @property
    def is_plain(self) -> bool:
        """Whether it is the cross-entropy itself, a mean, with no smoothing or further term."""
        return self.matches and abs(self.slope - 1) <= EXACT and abs(self.offset) <= EXACT


def per_token(logits_BTV: Tensor, targets_BT: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """The reference in float64: -log softmax at each target that counts, and where those are (B, T of the logits)."""
    n_tokens = logits_BTV.shape[1]
    at = torch.arange(n_tokens) + shift
    inside = (at >= 0) & (at < targets_BT.shape[1])
    aligned = targets_BT[:, at.clamp(0, targets_BT.shape[1] - 1)].long()
    counted = inside & (aligned >= 0)
    logs = torch.log_softmax(logits_BTV.detach().double(), -1)
    return -logs.gather(-1, aligned.clamp(min=0)[..., None])[..., 0], counted


def reference(logits_BTV: Tensor, targets_BT: Tensor, shift: int) -> float:
    """The mean of `per_token` over what counts."""
    values, counted = per_token(logits_BTV.cpu(), targets_BT.cpu(), shift)
    return float(values[counted].mean())


class Objective:
    """Scores batches with the subject's loss, on a float32 copy of its model in evaluation mode."""

    def __init__(self, subject: Subject, model: nn.Module) -> None:
        self.subject, self.model = subject, model
        self.of_logits = subject.loss is not None and not _takes_model(subject.loss)
        self.template = self._template()
        self.head: str | None = None
        self.in_parts = subject.loss is not None  # until the model is seen to run as a whole
        self.spies = False
        self.head = None if self.of_logits else self._find_head()

    @property
    def swaps(self) -> bool:
        """Whether other logits can be put in the place of the model's."""
        return self.of_logits or self.head is not None or self.spies

    def _template(self) -> Any:
        """A small batch of the owner's form; ids and targets of ours where there is no loader."""
        if self.subject.loader is None:
            ids = self.subject.ids(ROWS, min(TOKENS, self.subject.length))
            return (ids, ids.roll(-1, 1))
        whole = slim(batches(self.subject)[0].whole, ROWS, min(TOKENS, self.subject.length))
        if isinstance(whole, dict):
            whole |= {name: torch.ones_like(whole[name]) for name in LOSS_MASKS if name in whole}
        return whole

    def drawn(self, seed: int) -> Any:
        """A batch of random ids and random targets, every one of which counts."""
        batch = understood(self.template)
        shape = batch.inputs.shape
        inputs = self.subject.ids(shape[0], shape[1], seed=2 * seed)
        targets = self.subject.ids(shape[0], shape[1], seed=2 * seed + 1)
        return replaced(self.template, inputs, None if batch.targets is None else targets)

    def score(
        self, whole: Any, chosen: Callable[[tuple[int, ...]], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch, with gradients, and the logits it scored; `chosen` makes others of a given shape.

        Raises:
            NotApplicable: no logits can be seen, or put in place; the loss is no single number.
        """
        torch.manual_seed(0)
        with torch.enable_grad():
            scores = self._score_logits if self.of_logits else self._score_model
            loss, logits = scores(whole, chosen)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise NotApplicable("the loss is not a tensor of one number: give one that returns its scalar")
        return loss.reshape(()), logits

    def _score_logits(self, whole: Any, chosen: Any) -> tuple[Any, Tensor]:
        batch = understood(whole)
        if batch.targets is None:
            raise NotApplicable(
                "the batches hold no targets: give loss(model, batch), which knows how to make them"
            )
        shape = (*batch.inputs.shape, self.subject.vocab_size)
        logits = self._logits(batch) if chosen is None else chosen(shape)
        logits = logits.detach().requires_grad_()
        return scored(self.subject.loss, logits, batch.targets.long()), logits

    def _score_model(self, whole: Any, chosen: Any) -> tuple[Any, Tensor]:
        if chosen is not None and not self.swaps:
            raise NotApplicable("no module gives the logits alone, so others cannot be put in their place")
        batch = understood(whole)
        shape = (*batch.inputs.shape, self.subject.vocab_size or 0)
        parts = Scoring(shape, chosen if self.spies else None)
        passes = Passes(self.model, self.head if chosen is not None else None, chosen)
        try:
            with passes, parts if self.in_parts else nullcontext():
                loss = self._call(whole)
        except NotUnderstood as error:
            raise NotApplicable(str(error)) from error
        if not passes.ran:
            raise NotApplicable("the loss did not call the model it was given: expected loss(model, batch)")
        self.in_parts = not passes.logits
        if not self.in_parts:
            return loss, passes.logits[-1]
        if chosen is None:
            self.spies = parts.sees_all(loss)
        seen = parts.logits if self.spies else None
        return loss, self._logits(batch) if seen is None else seen

    def _logits(self, batch: Batch) -> Tensor:
        """The model's logits of a batch, with the numbers of its documents where both know them."""
        name, numbers = self.subject.interface.documents, document_numbers(self.subject, batch.whole)
        more = {} if name is None or numbers is None else {name: numbers}
        return self.subject.call(self.model, batch.inputs, **more).logits

    def _call(self, whole: Any) -> Any:
        batch = understood(whole)
        if self.subject.loss is not None:
            names = dict.fromkeys(("x", "inputs", "input_ids", "ids", "idx", "tokens"), batch.inputs)
            names |= dict.fromkeys(("y", "targets", "labels", "target"), batch.targets)
            return first_number(
                call_by_name(self.subject.loss, "model", "batch", model=self.model, batch=whole, **names)
            )
        targets = batch.inputs if batch.targets is None else batch.targets
        return self.subject.interface.call(self.model, batch.inputs, targets.long()).loss

    def _find_head(self) -> str | None:
        """The module whose own result is the logits: a head, or the whole model."""
        outs: list[tuple[str, Tensor]] = []
        handles = [
            module.register_forward_hook(
                lambda _, __, out, name=name: outs.append((name, out)) if isinstance(out, Tensor) else None
            )
            for name, module in self.model.named_modules()
        ]
        try:
            _, logits = self._score_model(self.template, None)
        finally:
            for handle in handles:
                handle.remove()
        if self.in_parts:
            return None
        at = (logits.data_ptr(), logits.shape)
        return next((name for name, out in outs if (out.data_ptr(), out.shape) == at), None)


def _takes_model(loss: Any) -> bool:
    function = loss.forward if isinstance(loss, nn.Module) else loss
    return next(iter(inspect.signature(function).parameters), "") in MODELS


def scored(loss: Any, logits_BTV: Tensor, targets_BT: Tensor) -> Any:
    """A loss of (logits, targets), which may want them flat as torch's own does."""
    try:
        return first_number(loss(logits_BTV, targets_BT))
    except (RuntimeError, ValueError, IndexError):
        return first_number(loss(logits_BTV.flatten(0, 1), targets_BT.flatten()))


def first_number(result: Any) -> Any:
    """The loss, where it comes first of several things."""
    return result[0] if isinstance(result, tuple | list) and result else result


def objective(subject: Subject) -> Objective:
    """The subject's objective on a model with no zeros left in it, made once."""
    return subject.once("objective", lambda: Objective(subject, stirred(subject.copied().float().eval())))


def spread(shape: tuple[int, ...]) -> Tensor:
    """Random logits of a usual size."""
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(7))


def fit(subject: Subject) -> Fit:
    """How the loss relates to the cross-entropy, over several draws of the targets; made once."""
    return subject.once("fit of the loss", lambda: _fit(objective(subject)))


def _fit(judge: Objective) -> Fit:
    chosen = spread if judge.swaps else None
    draws = [judge.drawn(seed) for seed in range(6)]
    pairs = [judge.score(whole, chosen) for whole in draws]
    values = torch.tensor([float(loss.detach()) for loss, _ in pairs], dtype=torch.float64)
    fits = []
    for shift in SHIFTS:
        targets = [scored_ids(whole) for whole in draws]
        against = [reference(pairs[i][1], targets[i], shift) for i in range(len(pairs))]
        terms = int(per_token(pairs[0][1].cpu(), targets[0].cpu(), shift)[1].sum())
        line = _line(values, torch.tensor(against, dtype=torch.float64), shift, terms, len(targets[0]))
        if not judge.swaps and not line.matches:
            even = [_evenly(pairs[i][1], targets[i], shift) for i in range(len(pairs))]
            line = _smoothed(line, against, even)
        fits.append(line)
    return min(fits, key=lambda found: found.residual)


def _evenly(logits_BTV: Tensor, targets_BT: Tensor, shift: int) -> float:
    """What label smoothing mixes in: the mean of -log softmax over the vocabulary and what counts."""
    _, counted = per_token(logits_BTV.cpu(), targets_BT.cpu(), shift)
    return float(-torch.log_softmax(logits_BTV.detach().cpu().double(), -1).mean(-1)[counted].mean())


def _smoothed(line: Fit, against: list[float], even: list[float]) -> Fit:
    """The line with the share of label smoothing explained, which differs from draw to draw where the logits do.

    Only where it is that: (1 - s) of the cross-entropy and s of the even one.
    """
    values = torch.tensor(line.values, dtype=torch.float64)
    columns = torch.tensor([against, even], dtype=torch.float64).T
    slope, share = torch.linalg.lstsq(columns, values).solution.tolist()
    residual = float((columns @ torch.tensor([slope, share], dtype=torch.float64) - values).norm())
    residual /= max(float((values - values.mean()).norm()), 1e-9)
    if residual > EXACT or abs(slope + share - 1) > EXACT:
        return line
    return replace(line, slope=slope, offset=share * sum(even) / len(even), residual=residual)


def scored_ids(whole: Any) -> Tensor:
    """The targets of a batch; its inputs, where the loss takes them from there."""
    batch = understood(whole)
    return batch.inputs if batch.targets is None else batch.targets


def _line(values: Tensor, against: Tensor, shift: int, terms: int, rows: int) -> Fit:
    centred = against - against.mean()
    slope = float((centred * (values - values.mean())).sum() / (centred**2).sum().clamp(min=1e-30))
    offset = float(values.mean() - slope * against.mean())
    spread_of = float((values - values.mean()).norm())
    left = float((values - slope * against - offset).norm())
    residual = left / spread_of if spread_of > 1e-9 else 1.0
    told = tuple(values.tolist())
    return Fit(
        shift=shift, slope=slope, offset=offset, residual=residual, terms=terms, rows=rows, values=told
    )


def gradient_at(judge: Objective, whole: Any, chosen: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch, its gradient at the logits, and the logits.

    Raises:
        NotApplicable: the logits that were seen are not what the loss is computed from.
    """
    loss, logits = judge.score(whole, chosen)
    if not logits.requires_grad:
        raise NotApplicable("the loss runs parts of the model, so that its logits cannot be seen")
    (gradient,) = torch.autograd.grad(loss, logits, allow_unused=True)
    if gradient is None:
        raise NotApplicable("the loss is not computed from the logits that the model returns")
    return loss.detach(), gradient, logits.detach()


def matching(subject: Subject) -> Fit:
    """How the loss relates to the cross-entropy.

    Raises:
        NotApplicable: it does not.
    """
    how = fit(subject)
    if not how.matches:
        raise NotApplicable(
            "the loss is no cross-entropy of the logits that were seen: see loss/cross-entropy"
        )
    return how
