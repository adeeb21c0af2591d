"""Laws of what an optimizer keeps: finite, saved whole, not lost to rounding, and nothing moved without a gradient."""

import contextlib
import copy

import torch

from trueformer.laws.law import Evidence, law
from trueformer.laws.optimizer_bench import (
    Bench,
    bench,
    benches,
    noise,
    optimizers,
    settings,
)
from trueformer.laws.schedule_rates import rates
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of

VISIBLE = 1e-3


@law(
    "optimizer/finite",
    statement="Weights and state stay finite after a zero gradient and after a huge one.",
    source="Kingma & Ba 2015, algorithm 1: the epsilon in the denominator",
    looks="Steps with gradients of 0, then 1e12, then 1 in float32, and counts what is not finite.",
    tolerance="None.",
    symptoms="NaN in rows of the embedding whose tokens have not come yet, or after one spike.",
    causes="No epsilon; a division by a norm that may be 0.",
    needs=("optimizer",),
)
def finite(subject: Subject) -> Evidence:
    """A token that is in no batch has gradient 0: Adam divides 0 by √0, which is NaN without epsilon."""
    bad, where, saw = 0, "its groups", ""
    for trial in benches(subject, torch.float32):
        for size in (0.0, 1e12, 1.0):
            trial.step(lambda i, p, size=size: size * noise(i, p))
            lost = [
                n
                for n, p in zip(trial.names, trial.parameters, strict=True)
                if not torch.isfinite(p.detach()).all()
            ]
            if lost and not bad:
                bad, where, saw = (
                    len(lost),
                    lost[0],
                    f"weights are not finite after a gradient of about {size:g}",
                )
    return Evidence(measured=float(bad), bound=0.0, unit="parameters", where=where, saw=saw)


@law(
    "optimizer/no-gradient",
    statement="A parameter that got no gradient is left alone.",
    source="PyTorch, torch.optim: parameters whose grad is None are skipped",
    looks="Steps with no gradient for every other parameter.",
    tolerance="None: not one bit.",
    symptoms="Unused experts and branches shrink away.",
    causes="None read as zero, and decay applied all the same.",
    needs=("optimizer",),
)
def no_gradient(subject: Subject) -> Evidence:
    """With decay 0.1 and lr 0.001, an expert that is not chosen for 10,000 steps has lost 63 % of its weight."""
    moved = []
    for trial in benches(subject):
        try:
            changes = trial.step(lambda i, p: None if i % 2 == 0 else noise(i, p))
        except (ValueError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
            raise NotApplicable(f"it refuses a parameter without a gradient: {error}") from error
        moved += [trial.names[i] for i, change in enumerate(changes) if i % 2 == 0 and change.any()]
    return Evidence(
        measured=float(len(moved)), bound=0.0, unit="parameters", where=moved[0] if moved else "its groups",
        saw=f"{len(moved)} parameters move without a gradient" if moved else "",
    )  # fmt: skip


@law(
    "optimizer/resumes",
    statement="Saved and loaded, the optimizer goes on bit for bit.",
    source="PyTorch, torch.optim.Optimizer.state_dict",
    looks="Takes two steps, moves the state to a fresh copy, and compares the next two steps of both.",
    tolerance="None: not one bit.",
    symptoms="A jump in the loss after each restart.",
    causes="The step count or a moment kept outside the state; state rounded on loading.",
    needs=("optimizer",),
)
def resumes(subject: Subject) -> Evidence:
    """Adam whose step count begins again takes warm moments for new ones: the next step is ten times as long."""
    different, where = 0, "its groups"
    for owners in optimizers(subject):
        if not hasattr(owners, "state_dict"):
            raise NotApplicable(f"{type(owners).__name__} has no state_dict")
        dtype = dtype_of(subject.model)
        going, fresh = bench(subject, owners, dtype), bench(subject, owners, dtype)
        for seed in (1, 2):
            going.step(lambda i, p, seed=seed: noise(i, p, seed))
        with torch.no_grad():
            for new, old in zip(fresh.parameters, going.parameters, strict=True):
                new.copy_(old)
        state = copy.deepcopy(going.optimizer.state_dict())
        fresh.optimizer.load_state_dict(*(state if isinstance(state, tuple) else (state,)))
        for seed in (3, 4):
            for trial in (going, fresh):
                trial.step(lambda i, p, seed=seed: noise(i, p, seed))
        pairs = zip(going.names, going.parameters, fresh.parameters, strict=True)
        apart = [name for name, a, b in pairs if not torch.equal(a, b)]
        different, where = different + len(apart), apart[0] if apart else where
    return Evidence(
        measured=float(different), bound=0.0, unit="parameters", where=where,
        saw=f"{different} parameters go another way after loading" if different else "",
    )  # fmt: skip


@law(
    "optimizer/survives-rounding",
    statement="Updates of a model in half precision are not lost to rounding.",
    source="Zamirai et al. 2020, arXiv:2010.06192: stochastic rounding or Kahan summation for bf16",
    looks="Takes 50 equal steps, at a late step's rate, in the model's dtype and in float32 (or from 0), and compares.",
    tolerance="Half of the way must be made; float32 models are not judged, nor weights too large for 50 steps to show.",
    symptoms="Norms and large weights never move; the loss stops early.",
    causes="bf16 weights updated in place with no float32 master, no stochastic rounding, no compensation.",
    needs=("optimizer",),
)
def survives_rounding(subject: Subject) -> Evidence:
    """bf16 has 8 bits: next to 1 comes 1.0078 above and 0.9961 below. An update of 0.001 rounds back to 1, every time."""
    dtype = dtype_of(subject.model)
    if dtype not in (torch.bfloat16, torch.float16):
        raise NotApplicable(f"the parameters are {dtype}, which keeps small updates")
    ways: list[tuple[float, str]] = []
    late = _late(subject)
    for owners in optimizers(subject):
        narrow, wide = bench(subject, owners, dtype), bench(subject, owners, torch.float32)
        whole = any(p.dtype == dtype for p in wide.parameters)
        if whole:
            with torch.no_grad():
                torch._foreach_zero_(wide.parameters)  # next to 0 no update is too small
        pairs = zip(_way(narrow, late), _way(wide, late), strict=True)
        for name, p, group, (near, far) in zip(
            narrow.names, narrow.parameters, narrow.groups, pairs, strict=True
        ):
            meant = whole and p.requires_grad and settings(group).get("lr", 0.0) > 0
            if far > 4 * torch.finfo(dtype).eps * p.detach().float().norm() or (meant and not far):
                ways.append((near / far if far else 0.0, name))
    share, where = min(ways, default=(1.0, "its groups"))
    return Evidence(
        measured=share, bound=0.5, at_least=True, unit="of the way", where=where,
        saw=f"only {share:.0%} of 50 equal updates arrived" if share < 0.5 else "",
    )  # fmt: skip


def _late(subject: Subject) -> float:
    """The rate when four fifths of the run are over, as a share of the highest; 1 where nobody says."""
    if subject.schedule is None:
        return 1.0
    with contextlib.suppress(NotApplicable):
        found = rates(subject)
        return found.values[len(found.values) * 4 // 5] / max(found.values)
    return 1.0


def _way(trial: Bench, late: float) -> list[float]:
    """How far each parameter goes in 50 equal steps, after one that may round it from a master.

    At a rate of 0.001 or more, or the way would be too short to show in half precision.
    """
    rate = max(settings(group).get("lr", 1.0) for group in trial.groups)
    if late < 1 or rate < VISIBLE:
        with contextlib.suppress(NotApplicable):
            trial.set(lr=max(late * rate, VISIBLE))
    trial.step(lambda i, p: noise(i, p).sign())
    start = [p.detach().float().clone() for p in trial.parameters]
    for _ in range(50):
        trial.step(lambda i, p: noise(i, p).sign())
    pairs = zip(trial.parameters, start, strict=True)
    return [float((p.detach().float() - begun).norm()) for p, begun in pairs]
