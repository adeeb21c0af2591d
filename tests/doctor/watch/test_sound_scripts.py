"""Scripts of many styles that are sound: no law breaks, no advice is given, no rule of ours fails."""

from pathlib import Path

import pytest

SCRIPTS = sorted(
    path.stem for path in (Path(__file__).parent / "scripts").glob("*.py") if path.stem != "small"
)
EDITS = {
    "adversaries, zeros": (
        "adversaries",
        ("for_judge.zero_grad(set_to_none=True)", "for_judge.zero_grad(False)"),
    ),
    "by hand, zeros": ("by_hand", ("parameter.grad = None", "parameter.grad.zero_()")),
    "by hand, zeros through data": ("by_hand", ("parameter.grad = None", "parameter.grad.data.zero_()")),
    "policy gradient alone": ("policy_gradient", (" + 0.1 * (log_p.exp() * log_p).sum(-1).mean()", "")),
    "scaler overflows at first": ("scaled", ("1024.0", "3e38")),
    "zeroed before backward": (
        "plain",
        ("    optimizer.zero_grad(set_to_none=True)\n", ""),
        ("    loss.backward()", "    optimizer.zero_grad(set_to_none=False)\n    loss.backward()"),
    ),
    "gradients divided by hand": (
        "accumulation",
        (" / 4", ""),
        ("    nn.utils.clip", "    for p in model.parameters():\n        p.grad /= 4\n    nn.utils.clip"),
    ),
}
CHECKPOINTS = "x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant={})"
MODELS = {
    "checkpointed": ("            x = block(x)", "            " + CHECKPOINTS.format(False)),
    "checkpointed, reentrant": ("            x = block(x)", "            " + CHECKPOINTS.format(True)),
    "layers dropped at random": (
        "for block in self.blocks:",
        "for block in [b for b in self.blocks if torch.rand(()) < 0.8]:",
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own advice to the scripts


def assert_silent(watched):
    assert watched.failures == []
    assert watched.broken == {}, watched.err
    assert watched.status == 0, watched.err
    assert watched.report["steps"] > 3


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_said_of_a_sound_script(watch, name):
    assert_silent(watch(name))


@pytest.mark.parametrize("name", EDITS)
def test_nothing_is_said_of_a_sound_variant(watch, name):
    script, *edits = EDITS[name]
    assert_silent(watch(script, *edits))


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_said_of_another_way_to_call_blocks(watch, name):
    imports = ("import torch\n", "import torch\nimport torch.utils.checkpoint\n")
    assert_silent(watch("plain", model=(imports, MODELS[name])))


@pytest.mark.slow
@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_compiled_model_stays_one_graph_and_nothing_is_said_of_it(watch, fullgraph):
    compiled = f"model = torch.compile(model, fullgraph={fullgraph})"
    assert_silent(watch("plain", ("# built", compiled)))


def test_the_flat_script_of_the_subjects(watch, write):
    subject = Path(__file__).parents[2] / "subjects" / "nanogpt_style_train.py"
    plain = write("plain")
    assert_silent(watch("plain", (plain.read_text(), subject.read_text())))
