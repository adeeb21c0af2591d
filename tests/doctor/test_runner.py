"""What the runner owes the user: other laws go on after a crash, a hang ends, and everything is as it was before."""

import copy
import dataclasses
import importlib.util
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trueformer
from trueformer.doctor.report import Report
from trueformer.doctor.runner import examine
from trueformer.laws.law import Evidence, Law, Verdict
from trueformer.subject.subject import Subject

SUBJECTS = Path(__file__).parent.parent / "subjects"


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def model_of(target: str) -> nn.Module:
    return loaded(Path(target.removesuffix(":build"))).build()


def law_of(probe, id: str = "attention/probe") -> Law:
    said = dict.fromkeys(("statement", "source", "looks", "tolerance", "symptoms", "causes"), "words")
    return Law(id=id, probe=probe, needs=("logits",), **said)


def fine(subject: Subject) -> Evidence:
    return Evidence(measured=0.0, bound=1.0)


def verdicts(report: Report) -> dict[str, Verdict]:
    return {result.law.id: result.verdict for result in report.results}


# Crashes


def test_a_crash_in_some_laws_leaves_the_others(planted):
    target = planted('if ids.shape[0] > 1: raise KeyError("one row only")')
    report = trueformer.check(model_of(target))
    assert report.counts[Verdict.CRASHED] >= 2
    assert report.counts[Verdict.HOLDS] >= 8
    assert verdicts(report)["attention/rows"] is Verdict.HOLDS
    assert report.exit_status == 1
    path, line = target.removesuffix(":build"), None
    for result in report.results:
        if result.verdict is Verdict.CRASHED:
            first, *lines = result.reason.splitlines()
            assert first == "KeyError: 'one row only'"
            assert all(said.startswith("planted_model.py:") for said in lines)  # nothing of torch or of ours
            assert "in forward" in lines[-1]
            place, _, line = result.at.rpartition(":")
            assert place == path
    assert "one row only" in Path(path).read_text().splitlines()[int(line or 0) - 1]


def test_a_crash_of_the_probe_alone_is_not_blamed_on_the_user(planted):
    def crashes(subject: Subject) -> Evidence:
        raise IndexError("ours")

    report = examine(Subject(model=model_of(planted())), [law_of(crashes)])
    (result,) = report.results
    assert result.verdict is Verdict.CRASHED
    assert result.reason.startswith("IndexError: ours")


def test_all_laws_crashed_is_that_none_could_be_run(planted):
    report = trueformer.check(model_of(planted("raise RuntimeError('never')")), only=["attention/rows"])
    assert (report.exit_status, report.results[0].verdict) == (2, Verdict.CRASHED)


def test_what_is_missing_is_named(planted):
    """A law that needs what was not given is not run, and says which argument would allow it."""

    def never(subject: Subject) -> Evidence:
        raise AssertionError("ran")

    needy = [dataclasses.replace(law_of(never), needs=needs) for needs in (("logits", "loss"), ("generate",))]
    deep = dataclasses.replace(law_of(never), deep=True)
    report = examine(Subject(model=model_of(planted())), [*needy, deep])
    assert [result.verdict for result in report.results] == [Verdict.NOT_CHECKED] * 3
    for result, words in zip(report.results, ("loss=", "--generate", "--deep"), strict=True):
        assert words in result.reason


# Hangs


SWALLOWS = """while True:
                try: time.sleep(30)
                except Exception: pass"""


@pytest.mark.parametrize("hang", ["time.sleep(30)", "while True: pass", SWALLOWS])
def test_a_model_that_hangs_is_timed_out_in_that_law_alone(planted, hang: str):
    target = planted(f"if ids.shape[0] > 1:\n            {hang}")
    started = time.perf_counter()
    report = trueformer.check(model_of(target), only=["attention/rows-apart", "attention/rows"], limit=4.0)
    assert time.perf_counter() - started < 25
    assert verdicts(report) == {
        "attention/rows": Verdict.HOLDS,
        "attention/rows-apart": Verdict.TIMED_OUT,
    }
    (late,) = report.broken
    assert late.reason.startswith("gave no answer in 4 s\nplanted_model.py:")  # and the line it hung in
    assert late.at.startswith(target.removesuffix("build"))


@pytest.mark.parametrize("left", [0.0, 50.0])
def test_the_alarm_of_whoever_calls_us_is_theirs_again(planted, left: float):
    def theirs(number: int, frame: object) -> None:
        raise AssertionError("rang")

    before = signal.signal(signal.SIGALRM, theirs)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        examine(Subject(model=model_of(planted())), [law_of(fine)], limit=5.0)
        assert signal.getsignal(signal.SIGALRM) is theirs
        assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(left, abs=10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Everything of the user's is put back


class Restless(nn.Module):
    """A sound model that changes whatever it can of itself in each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(23, 8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 23)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("cache", None, persistent=False)
        self.seen: list[int] = []
        self.shared = self.head.shared = {"passes": 0}
        self.last = "before"

    def forward(self, ids: Tensor) -> Tensor:
        self.calls += 1
        self.last, self.new, self.cache = "after", ids, torch.ones(3)
        self.seen.append(int(ids.shape[1]))
        self.shared["passes"] += 1
        random.random(), np.random.rand(), torch.rand(1)
        with torch.no_grad():
            self.head.bias += 1e-3
        self.head.weight.requires_grad_(False)
        self.drop.train()
        x = self.drop(self.embed(ids))
        return self.head(x.cumsum(1))


def trained() -> tuple[nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """A model in the middle of training: gradients, moments, a schedule under way, mixed modes, a frozen matrix."""
    torch.manual_seed(3)
    model = Restless()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(3):
        model(torch.randint(23, (2, 5))).logsumexp(-1).mean().backward()
        optimizer.step()
        schedule.step()
    model.train()
    model.drop.eval()
    model.embed.weight.requires_grad_(False)
    model.head.weight.requires_grad_(True)
    return model, optimizer, schedule


def bits(value) -> object:
    """Anything as something that is equal only to the same, bit for bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), str(value.device), value.detach().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {key: bits(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [bits(inner) for inner in value]
    return value


def of_kind(module: nn.Module, *kinds: type) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if isinstance(value, kinds)}


def everything(model: nn.Module, optimizer=None, schedule=None) -> dict[str, object]:
    """Whatever of the user's a check might change, as bits and as the very objects."""
    modules = list(model.named_modules())
    return {
        "parameters": {
            n: (id(p), bits(p), p.requires_grad, id(p.grad), bits(p.grad)) for n, p in model.named_parameters()
        },
        "buffers": {n: (id(b), bits(b)) for n, b in model.named_buffers()},
        "modes": {n: m.training for n, m in modules},
        "attributes": {n: sorted(m.__dict__) for n, m in modules},
        "hooks": {n: [len(h) for k, h in m.__dict__.items() if "hooks" in k and h is not None] for n, m in modules},
        "own": {n: bits(of_kind(m, int, float, str, list)) for n, m in modules},
        "objects": {n: {k: (id(v), v.get("passes")) for k, v in of_kind(m, dict).items()} for n, m in modules},
        "random": bits((np.random.get_state(), torch.get_rng_state())),
        "optimizer": bits(optimizer.state_dict()) if optimizer else None,
        "moments": {id(p) for p in optimizer.state} if optimizer else None,
        "schedule": bits(schedule.state_dict()) if hasattr(schedule, "state_dict") else None,
        "switches": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
                     torch.is_inference_mode_enabled(), torch.get_num_threads()),
    }  # fmt: skip


def same(before: dict[str, object], after: dict[str, object]) -> None:
    assert [name for name in before if before[name] != after[name]] == []


def test_a_whole_check_changes_nothing_of_a_model_that_changes_itself():
    model, optimizer, schedule = trained()
    before = everything(model, optimizer, schedule)
    report = trueformer.check(model, optimizer=optimizer, schedule=schedule)
    same(before, everything(model, optimizer, schedule))
    assert len(report.results) > 20


@pytest.mark.parametrize("name", ["gpt2_like", "llama_like"])
def test_a_whole_check_changes_nothing_of_a_subject_with_all_its_parts(name: str):
    module = loaded(SUBJECTS / f"{name}.py")
    model = module.build()
    parts = module.parts(model)
    ids = torch.randint(90, (2, 8))
    parts["optimizer"].zero_grad()
    module_logits = model(ids)
    (module_logits[0] if isinstance(module_logits, tuple) else module_logits).float().logsumexp(
        -1
    ).mean().backward()
    before = everything(model, parts["optimizer"], parts.get("schedule"))
    report = trueformer.check(model, **parts)
    same(before, everything(model, parts["optimizer"], parts.get("schedule")))
    assert report.broken == ()


def ruin(subject: Subject) -> None:
    """What a probe would do that took no copy."""
    model = subject.model
    model.eval()
    model(torch.zeros(1, 4, dtype=torch.long)).sum().backward()
    subject.optimizer.step()
    subject.optimizer.param_groups[0]["lr"] = 7.0
    subject.schedule.step()
    subject.optimizer.zero_grad(set_to_none=True)
    model.head.weight.data = torch.zeros(2, 2)
    model.register_buffer("extra", torch.ones(1))
    del model.last
    random.seed(1), np.random.seed(1), torch.manual_seed(1)


@pytest.mark.parametrize("end", [None, RuntimeError("crash"), KeyboardInterrupt()])
def test_even_a_probe_that_ruins_the_model_and_crashes_leaves_no_trace(end):
    def probe(subject: Subject) -> Evidence:
        ruin(subject)
        if end is not None:
            raise end
        return Evidence(measured=0.0, bound=1.0)

    model, optimizer, schedule = trained()
    before = everything(model, optimizer, schedule)
    subject = Subject(model=model, optimizer=optimizer, schedule=schedule)
    if isinstance(end, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            examine(subject, [law_of(fine), law_of(probe)])
    else:
        examine(subject, [law_of(probe), law_of(fine)])
    same(before, everything(model, optimizer, schedule))


def test_a_hang_that_is_timed_out_leaves_no_trace():
    def probe(subject: Subject) -> Evidence:
        ruin(subject)
        time.sleep(30)
        return Evidence(measured=0.0, bound=1.0)

    model, optimizer, schedule = trained()
    before = everything(model, optimizer, schedule)
    report = examine(Subject(model=model, optimizer=optimizer, schedule=schedule), [law_of(probe)], limit=0.3)
    same(before, everything(model, optimizer, schedule))
    assert report.results[0].verdict is Verdict.TIMED_OUT


def test_random_numbers_go_on_as_if_nothing_had_been_drawn(planted):
    """In a process of its own: the type checker of this suite draws Python's random numbers itself."""
    path = Path(
        planted("import random, numpy; random.random(); numpy.random.rand(); torch.rand(1)").removesuffix(
            ":build"
        )
    )
    program = f"""
import random, numpy, torch, trueformer
from {path.stem} import build
model = build()
trueformer.check
state = lambda: (random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist())
before = state()
assert len(trueformer.check(model).results) > 20
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_copies_share_nothing_with_the_original():
    model, optimizer, _ = trained()
    subject = Subject(model=model, optimizer=optimizer)
    other, its_optimizer = subject.copied_with(optimizer)
    pointers = {p.data_ptr() for p in model.parameters()}
    assert not pointers & {p.data_ptr() for p in other.parameters()}
    mine = {id(p) for p in other.parameters()}
    assert all(id(p) in mine for group in its_optimizer.param_groups for p in group["params"])
    assert copy.deepcopy(model) is not model
