"""Rules about the order of a step (backward, unscale, clip, optimizer, schedule) and unused optimizers."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.loops import (
    CLIPS,
    common,
    exclusive,
    is_backward,
    optimizer_steps,
    schedule_steps,
    within,
)
from trueformer.doctor.lint.reading import Function, Reading, last, parts, receiver
from trueformer.doctor.lint.rule import Found, rule

HARMLESS = {
    "zero_grad",
    "param_groups",
    "state_dict",
    "load_state_dict",
    "state",
    "defaults",
    "add_param_group",
}


@rule(
    "unused-optimizer",
    words=("optim",),
    statement="An optimizer that is built is stepped.",
    source="Finding A5.",
    looks="Names given a torch.optim optimizer that is neither stepped nor handed to anything that could "
    "step it.",
    tolerance="Silent where the name is returned, passed on, kept or exported; a schedule cannot step it.",
    symptoms="Parameters do not move, or they move by other rates than those that were set.",
    causes="A second optimizer was built by copying, at the top of the file or in another function.",
    remedy="step it, or delete it",
)
def unused_optimizer(code: Reading) -> Iterator[Found]:
    """Two optimizers over one model: the one whose rates you change is not the one that steps.

    Wrong:
        import torch
        def train(model, step):
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for _ in range(10):
                optimizer.zero_grad()
                step(model)

    Right:
        import torch
        def train(model, step):
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for _ in range(10):
                optimizer.zero_grad()
                step(model)
                optimizer.step()
    """
    for assign in code.all(ast.Assign):
        target = assign.targets[0]
        if not isinstance(target, ast.Name) or len(assign.targets) > 1 or not _builds(code, assign.value):
            continue
        scope = code.scope(assign)
        if code.class_of(assign) is not None and not isinstance(scope, Function):
            continue
        used = [
            n for n in ast.walk(scope) if isinstance(n, ast.Name) and n.id == target.id and n is not target
        ]
        if isinstance(scope, ast.Module) and not _is_script(code):
            continue
        if all(_is_harmless(code, use, target.id) for use in used):
            yield Found(assign, f"the optimizer {target.id} is built and never stepped")


def _builds(code: Reading, value: ast.expr) -> bool:
    module, _, name = code.name(value.func).rpartition(".") if isinstance(value, ast.Call) else ("", "", "")
    return module == "torch.optim" and name[:1].isupper()


def _is_script(code: Reading) -> bool:
    """Whether the file trains by itself; a name of a library may be used from elsewhere."""
    return any(is_backward(call) for call in code.calls("backward"))


def _is_harmless(code: Reading, use: ast.Name, name: str) -> bool:
    """A use that cannot step: reading or clearing it, or building a schedule on it."""
    outer = code.parent(use)
    if isinstance(outer, ast.Global | ast.Nonlocal) or isinstance(use.ctx, ast.Store | ast.Del):
        return False
    if isinstance(outer, ast.Attribute):
        return outer.attr in HARMLESS
    return isinstance(outer, ast.Call) and "lr_scheduler" in code.name(outer.func) and name == use.id


@rule(
    "clip-after-step",
    words=("clip_grad",),
    statement="Gradients are clipped between backward and step.",
    source="Pascanu et al. 2013, algorithm 1.",
    looks="clip_grad_norm_ or clip_grad_value_ after an optimizer's step, with no backward between them.",
    tolerance="Silent where the two stand in different branches.",
    symptoms="Loss spikes as if there were no clipping; the norm that is logged looks right.",
    causes="The line stands one too low.",
    remedy="clip right before optimizer.step()",
)
def clip_after_step(code: Reading) -> Iterator[Found]:
    """After the step the gradients have done their work.

    Wrong:
        import torch
        def step(model, loss, optimizer):
            loss.backward()
            optimizer.step()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    Right:
        import torch
        def step(model, loss, optimizer):
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    """
    steps = list(optimizer_steps(code))
    backwards = [call for call in code.calls("backward") if is_backward(call)]
    for clip in code.calls(*CLIPS):
        before = [s for s in steps if _follows(code, s, clip)]
        after = [s for s in steps if _follows(code, clip, s)]
        late = [s for s in before if any(_follows(code, b, s) for b in backwards)]
        if late and not after and not any(late[-1].lineno < b.lineno < clip.lineno for b in backwards):
            yield Found(clip, "gradients are clipped after the optimizer has used them")


def _follows(code: Reading, first: ast.Call, second: ast.Call) -> bool:
    """Whether the second call comes after the first in the same loop or function."""
    together = common(code, first, second)
    same = together is not None and code.loops(first)[:1] == code.loops(second)[:1]
    return same and first.lineno < second.lineno and not exclusive(code, first, second)


@rule(
    "clip-before-unscale",
    words=("clip_grad",),
    statement="Scaled gradients are unscaled before they are clipped.",
    source="PyTorch's automatic mixed precision examples: gradient clipping.",
    looks="Clipping in a function that steps through a GradScaler, with no unscale_ before it.",
    tolerance="Silent where clipping and the scaler stand in different branches.",
    symptoms="Every gradient is clipped to almost nothing: the loss scale is of the order of 65 536.",
    causes="Mixed precision was added to a loop that clipped.",
    remedy="scaler.unscale_(optimizer) before clipping",
)
def clip_before_unscale(code: Reading) -> Iterator[Found]:
    """A norm limit of 1 on gradients times 65 536 is a limit of 0.000015.

    Wrong:
        import torch
        def step(model, loss, optimizer, scaler):
            scaler.scale(loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()

    Right:
        import torch
        def step(model, loss, optimizer, scaler):
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    """
    scaled = [call for call in code.calls("step") if "scaler" in parts(last(receiver(call)))]
    unscaled = [call for call in code.calls("unscale_", "unscale") if receiver(call) is not None]
    for clip in code.calls(*CLIPS):
        scope = code.scope(clip)
        stepped = any(
            code.scope(s) is scope and s.lineno > clip.lineno and not exclusive(code, s, clip) for s in scaled
        )
        if stepped and not any(code.scope(u) is scope and u.lineno <= clip.lineno for u in unscaled):
            yield Found(clip, "gradients are clipped while they are still multiplied by the loss scale")


@rule(
    "schedule-first",
    words=("sched",),
    statement="The schedule moves on after the optimizer's step.",
    source="torch.optim: since 1.1.0 scheduler.step() comes after optimizer.step().",
    looks="scheduler.step() above optimizer.step() in the same loop.",
    tolerance="Silent where the schedule's step has an argument, or a condition that the optimizer's has not.",
    symptoms="The first value of the schedule is skipped: warmup begins one step in, decay ends one early.",
    causes="Examples from before 2019.",
    remedy="move scheduler.step() below optimizer.step()",
)
def schedule_first(code: Reading) -> Iterator[Found]:
    """The first learning rate is for the first step.

    Wrong:
        def train(batches, loss_of, optimizer, scheduler):
            for batch in batches:
                optimizer.zero_grad()
                loss_of(batch).backward()
                scheduler.step()
                optimizer.step()

    Right:
        def train(batches, loss_of, optimizer, scheduler):
            for batch in batches:
                optimizer.zero_grad()
                loss_of(batch).backward()
                optimizer.step()
                scheduler.step()
    """
    steps = list(optimizer_steps(code))
    for moved in schedule_steps(code):
        loops = code.loops(moved)
        if not loops or moved.args or moved.keywords:
            continue
        # The condition around the schedule, if any: what is below it runs as often as the schedule moves.
        conditions = [o for o in code.around(moved) if isinstance(o, ast.If) and within(code, o, loops[0])]
        block = conditions[0] if conditions else loops[0]
        same = [s for s in steps if within(code, s, block) and not exclusive(code, s, moved)]
        if same and all(s.lineno > moved.lineno for s in same):
            yield Found(moved, "the schedule moves on before the optimizer's step")
