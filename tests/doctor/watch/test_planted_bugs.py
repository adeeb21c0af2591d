"""Bugs planted in a sound script: the right law breaks, at the first step where it can be known, and nothing else.

Each case says which script is edited how, which laws break at which step, and the line that is pointed at.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

CLIP = "    nn.utils.clip_grad_norm_(model.parameters(), 0.1)\n"
STEP = "    optimizer.step()\n"
CLEAR = "    optimizer.zero_grad(set_to_none=True)\n"
BACKWARD = "    loss.backward()\n"
READY = "# ready\n"
OPTIMIZER = "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
SCHEDULE = "schedule = torch.optim.lr_scheduler.StepLR(optimizer, 50)\n"


@dataclass(frozen=True, kw_only=True)
class Bug:
    """Edits, and what they break; `at` is text of the line that is to blame."""

    edits: tuple[tuple[str, str], ...]
    breaks: dict[str, int]
    script: str = "plain"
    at: str = ""
    where: str = ""
    model: tuple[tuple[str, str], ...] = ()


BUGS = {
    "zero_grad forgotten": Bug(
        edits=((CLEAR, ""),), breaks={"live/zero-grad": 2}, at="loss.backward()", where="wte.weight"
    ),
    "zero_grad forgotten under accumulation": Bug(
        script="accumulation", edits=(("    optimizer.zero_grad()\n", ""),), breaks={"live/zero-grad": 2}
    ),
    "zero_grad forgotten in a closure": Bug(
        script="closure", edits=(("    optimizer.zero_grad()\n", ""),), breaks={"live/zero-grad": 2}
    ),
    "another model's gradients are cleared": Bug(
        edits=((CLEAR, "    GPT().zero_grad()\n"),), breaks={"live/zero-grad": 2}
    ),
    "gradients kept in an update by hand": Bug(
        script="by_hand", edits=(("            parameter.grad = None\n", ""),), breaks={"live/zero-grad": 2}
    ),
    "clip after the step": Bug(
        edits=((CLIP, ""), (STEP, STEP + CLIP)), breaks={"live/clip-order": 1}, at="clip_grad_norm_"
    ),
    "clip after clearing": Bug(
        edits=((CLIP, ""), (CLEAR, CLEAR + CLIP)), breaks={"live/clip-order": 1}, at="clip_grad_norm_"
    ),
    "clip before backward": Bug(
        edits=((CLIP, ""), (BACKWARD, CLIP + BACKWARD)), breaks={"live/clip-order": 1}, at="clip_grad_norm_"
    ),
    "clip of an exhausted generator": Bug(
        edits=(
            (READY, "parameters = model.parameters()\n"),
            ("clip_grad_norm_(model.parameters(), 0.1)", "clip_grad_norm_(parameters, 0.1)"),
        ),
        breaks={"live/clip-order": 2},
        at="clip_grad_norm_",
    ),
    "clip of a part": Bug(
        edits=(("clip_grad_norm_(model.parameters", "clip_grad_norm_(model.head.parameters"),),
        breaks={"live/clip-part": 1},
        at="clip_grad_norm_",
        where="wte.weight",
    ),
    "clip of every micro-batch but the last": Bug(
        script="accumulation",
        edits=(
            (
                "        loss.backward()",
                "        nn.utils.clip_grad_value_(model.parameters(), 1e9)\n        loss.backward()",
            ),
            (
                "        loss = ",
                "        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)\n        loss = ",
            ),
        ),
        breaks={"live/clip-order": 1},
        at="model.parameters(), 1e-3",
    ),
    "clip before unscale": Bug(
        script="scaled",
        edits=(("    scaler.unscale_(optimizer)\n", ""),),
        breaks={"live/clip-order": 1},
        at="clip_grad_norm_",
    ),
    "schedule before the optimizer": Bug(
        edits=((READY, SCHEDULE), (BACKWARD, "    schedule.step()\n" + BACKWARD)),
        breaks={"live/schedule-order": 1},
        at="schedule.step()",
    ),
    "schedule between backward and step": Bug(
        edits=((READY, SCHEDULE), (STEP, "    schedule.step()\n" + STEP)),
        breaks={"live/schedule-order": 1},
        at="schedule.step()",
    ),
    "schedule every micro-batch": Bug(
        script="accumulation",
        edits=(
            ("    schedule.step()\n", ""),
            ("        loss.backward()\n", "        loss.backward()\n        if step: schedule.step()\n"),
            ("for _ in range(8)", "for step in range(8)"),
        ),
        breaks={"live/schedule-order": 3},
        at="schedule.step()",
    ),
    "a block frozen by mistake": Bug(
        edits=(("# built", "model.blocks[2].requires_grad_(False)"),),
        breaks={"live/frozen": 1},
        where="blocks.2",
    ),
    "the first block frozen by mistake": Bug(
        edits=(("# built", "model.blocks[0].requires_grad_(False)"),),
        breaks={"live/frozen": 1},
        where="blocks.0",
    ),
    "one matrix frozen by mistake": Bug(
        edits=(("# built", "model.blocks[1].qkv.weight.requires_grad = False"),),
        breaks={"live/frozen": 1},
        where="blocks.1",
    ),
    "a block left out of the optimizer": Bug(
        edits=(
            (
                OPTIMIZER,
                "optimizer = torch.optim.AdamW([p for n, p in model.named_parameters() if 'blocks.1.' not in n])\n",
            ),
            (CLIP, ""),
        ),
        breaks={"live/frozen": 1, "live/left-out": 2},
        where="blocks.1.norm.weight",
    ),
    "the head left out of the optimizer": Bug(
        edits=(
            (
                OPTIMIZER,
                "optimizer = torch.optim.AdamW([*model.wte.parameters(), *model.blocks.parameters()])\n",
            ),
        ),
        breaks={"live/left-out": 2},
        where="head.weight",
    ),
    "a block no gradient reaches": Bug(
        edits=(),
        model=(
            (
                "            x = block(x)",
                "            x = x + (block(x) - x).detach() if block is self.blocks[1] else block(x)",
            ),
        ),
        breaks={"live/frozen": 8},
        where="blocks.1",
    ),
    "an optimizer of a copy": Bug(
        edits=((READY, "import copy\nmodel = copy.deepcopy(model)\n"),),
        breaks={"live/foreign-parameters": 1, "live/left-out": 2},
    ),
    "a layer rebuilt after the optimizer": Bug(
        edits=((READY, "model.head = nn.Linear(16, 32)\n"),),
        breaks={"live/foreign-parameters": 1, "live/left-out": 2},
        where="head.weight (32, 16)",
    ),
    "one gradient applied by two optimizers": Bug(
        edits=(
            (READY, "again = torch.optim.SGD(model.parameters(), 1e-2)\n"),
            (STEP, STEP + "    again.step()\n"),
        ),
        breaks={"live/foreign-parameters": 1},
        at="again.step()",
    ),
    "weights put back after each step": Bug(
        edits=(
            (
                READY,  # torch puts hooks around the step of AdamW itself once one was made
                "torch.optim.AdamW([torch.zeros(1)])\nfirst = model.head.weight.detach().clone()\n",
            ),
            (
                "model = GPT()",
                """
class Undoing(torch.optim.AdamW):
    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            model.head.weight.copy_(first)


model = GPT()""",
            ),
            ("torch.optim.AdamW(model", "Undoing(model"),
        ),
        breaks={"live/unmoved": 3},
        where="head.weight",
    ),
    "a decay far too large": Bug(
        edits=((OPTIMIZER, "optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=3.0)\n"),),
        breaks={"live/update-ratio": 5},
    ),
    "updates lost in bf16": Bug(
        edits=(
            ("# built", "model.bfloat16()"),
            ("lr=1e-3", "lr=1e-6"),
            ("    print(step, loss.item())\n", ""),
        ),
        breaks={"live/bf16-updates-lost": 3},
    ),
    "weights become nan": Bug(
        edits=((BACKWARD, "    (loss * (float('nan') if step == 6 else 1)).backward()\n"),),
        breaks={"live/finite": 7},
        where="wte.weight",
    ),
    "never back in train mode": Bug(
        edits=(("        model.train()\n", ""),), breaks={"live/mode": 5}, at="F.cross_entropy(model(x)"
    ),
    "trained in eval mode": Bug(
        edits=(("# built", "model.eval()"), ("        model.train()\n", "")), breaks={"live/mode": 1}
    ),
    "evaluated in train mode": Bug(
        edits=(("        model.eval()\n", ""),), breaks={"live/mode": 4}, at="F.cross_entropy(model(x)"
    ),
    "evaluation builds a graph": Bug(
        edits=(
            ("with torch.no_grad():", "for _ in range(3):"),
            (
                '            print("validation", loss_of(model, *batch()).item())',
                "            loss_of(model, *batch())",
            ),
        ),
        breaks={"live/eval-no-grad": 4},
        at="F.cross_entropy(model(x)",
    ),
    "the minus sign forgotten": Bug(
        edits=(),
        model=(
            (
                "F.cross_entropy(model(x).flatten(0, 1), y.flatten())",
                "model(x).log_softmax(-1).gather(-1, y[..., None]).mean()",
            ),
        ),
        breaks={"live/loss": 1},
        at="loss.backward()",
    ),
    "the loss negated": Bug(edits=((BACKWARD, "    (-loss).backward()\n"),), breaks={"live/loss": 1}),
    "logits far too large": Bug(
        edits=(), model=(("return self.head(x)", "return 300 * self.head(x)"),), breaks={"live/first-loss": 1}
    ),
    "micro-batches summed": Bug(
        script="accumulation", edits=((" / 4", ""),), breaks={"live/accumulation": 1}, at="loss.backward()"
    ),
    "losses kept with their graphs": Bug(
        script="losses_kept_as_numbers", edits=(("loss.detach()", "loss"),), breaks={"live/memory": 22}
    ),
    "losses summed with their graphs": Bug(
        script="losses_kept_as_numbers",
        edits=(("losses = []", "losses = 0.0"), ("losses.append(loss.detach())", "losses = losses + loss")),
        breaks={"live/memory": 22},
    ),
    "batches kept": Bug(
        script="losses_kept_as_numbers",
        edits=(
            ("losses.append(loss.detach())", "losses.append(torch.ones(2**19))"),
            ("range(40)", "range(70)"),
        ),
        breaks={"live/memory-growth": 60},
    ),
    "a negative rate": Bug(
        edits=(
            (
                STEP,
                "    optimizer.param_groups[0]['lr'] = -1e-3 if step == 2 else 1e-3\n" + STEP,
            ),
        ),
        breaks={"live/learning-rate": 3},
    ),
    "a rate of zero": Bug(
        edits=(("lr=1e-3", "lr=0.0"), ("range(12)", "range(101)")), breaks={"live/learning-rate": 100}
    ),
    "a schedule that never moves": Bug(
        edits=((READY, SCHEDULE), ("range(12)", "range(24)")), breaks={"live/learning-rate-path": 24}
    ),
    "a rate that jumps": Bug(
        edits=((STEP, "    optimizer.param_groups[0]['lr'] = 1e-2 if step == 2 else 1e-5\n" + STEP),),
        breaks={"live/learning-rate-path": 3},
    ),
    "gradients nan at every scale": Bug(
        script="scaled",
        edits=(("scaler.scale(", "scaler.scale(float('nan') * "), ("range(12)", "range(40)")),
        breaks={"live/loss-scale": 1},
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's own advice to the script
@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS.keys())
def test_a_planted_bug_breaks_its_law_when_it_can_first_be_known(watch, bug):
    watched = watch(bug.script, *bug.edits, model=bug.model)
    assert watched.failures == []
    assert watched.broken == bug.breaks, watched.err
    law = watched.law(next(iter(bug.breaks)))
    assert watched.status == int(any(not watched.law(id)["advice"] for id in bug.breaks))
    if bug.at:
        assert law["place"] == watched.place_of(bug.at)
    if bug.where:
        assert law["where"] == bug.where


SUBJECT = (Path(__file__).parents[2] / "subjects" / "nanogpt_style_train.py").read_text()
SUBJECT_CLIP = "    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)\n"
SUBJECT_BUGS = {
    "zero_grad forgotten": Bug(
        edits=(("    optimizer.zero_grad(set_to_none=True)\n", ""),),
        breaks={"live/zero-grad": 2},
        at="loss.backward()",
    ),
    "clip after the step": Bug(
        edits=((SUBJECT_CLIP, ""), ("    optimizer.step()\n", "    optimizer.step()\n" + SUBJECT_CLIP)),
        breaks={"live/clip-order": 1},
        at="clip_grad_norm_",
    ),
    "a frozen layer": Bug(
        edits=(("model.to(device)\n", "model.to(device)\nmodel.blocks[1].requires_grad_(False)\n"),),
        breaks={"live/frozen": 1},
        where="blocks.1",
    ),
}


@pytest.mark.parametrize("bug", SUBJECT_BUGS.values(), ids=SUBJECT_BUGS.keys())
def test_a_bug_in_the_flat_script_of_the_subjects(watch, write, bug):
    plain = write("plain").read_text()
    source = SUBJECT
    for old, new in (*bug.edits, ("max_iters = 48", "max_iters = 4")):
        assert source.count(old) == 1
        source = source.replace(old, new)
    watched = watch("plain", (plain, source))
    assert (watched.broken, watched.status, watched.failures) == (bug.breaks, 1, []), watched.err
    law = watched.law(next(iter(bug.breaks)))
    assert not bug.at or law["place"] == watched.place_of(bug.at)
    assert not bug.where or law["where"] == bug.where
