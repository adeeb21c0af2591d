"""The hunt as a task of the Inspect evaluation framework (`pip install trueformer[inspect]`).

    inspect eval trueformer/hunt --model MODEL -T level=easy -T sandbox=docker

Each sample is a workspace in Inspect's sandbox and the incident as its input; the scorer takes the project back out of
the sandbox and grades it outside. A docker sandbox needs an image with Python and torch, and must not have trueformer
installed; in the local one every answer is within reach, so it is for trying out. Leaves out measured numbers in reports.
"""

import tempfile
from functools import partial
from pathlib import Path

from anyio import to_thread
from inspect_ai import Task, task
from inspect_ai.agent import AgentPrompt, react
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, mean, scorer, stderr
from inspect_ai.solver import TaskState
from inspect_ai.tool import bash, python
from inspect_ai.util import sandbox as environment

from trueformer.hunt.bug import Bug, bug, bugs
from trueformer.hunt.grade import Grade, grade
from trueformer.hunt.plant import planted, write_sources
from trueformer.hunt.workspace import PACKAGE, fill

ASKED = "You are in a workspace with a project that has a silent bug. Find it and mend it in place; then submit a word."
CALL_SECONDS = 180  # a tool call


@task(name="hunt")
def hunt(
    cases: str = "", level: str = "", component: str = "", sandbox: str = "docker", messages: int = 100
) -> Task:
    """The cases (ids with commas between, or all), of a level or a component where one is named.

    Raises:
        ValueError: there is no such case.
    """
    named = [bug(id) for id in cases.split(",") if id]
    chosen = [
        b for b in named or bugs().values() if level in ("", b.level) and component in ("", b.component)
    ]
    if not chosen:
        raise ValueError(
            f"no case of level {level!r} and component {component!r}: `trueformer hunt list` has them"
        )
    return Task(
        dataset=MemoryDataset([sample(b) for b in chosen], name="hunt"),
        solver=react(
            prompt=AgentPrompt(instructions=ASKED), tools=[bash(CALL_SECONDS), python(CALL_SECONDS)]
        ),
        scorer=by_behaviour(),
        sandbox=sandbox,
        message_limit=messages,
    )


def sample(case: Bug) -> Sample:
    """One case: the files of its workspace, and its incident as what is asked."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "workspace"
        fill(folder, [case], planted([case]), minutes=None, measure=False)
        files = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file() and ".git" not in path.parts
        }
    return Sample(
        id=case.id,
        input=files["INCIDENT.md"],
        files=files,
        metadata={"level": case.level, "component": case.component},
    )


@scorer(metrics={"solved": [accuracy(), stderr()], "points": [mean()]})
def by_behaviour() -> Scorer:
    """1 where the repaired project behaves as it should, and the points of the case."""

    async def score(state: TaskState, target: Target) -> Score:
        case = bug(str(state.sample_id))
        result = await to_thread.run_sync(partial(_graded, case, await _project(case)))
        return Score(
            value={"solved": float(result.solved), "points": float(case.weight * result.solved)},
            explanation="; ".join([*result.fooled, *result.behaviours, result.error]) or "everything holds",
        )

    return score


async def _project(case: Bug) -> dict[str, str]:
    """The Python files of the project as they are in the sandbox."""
    listed = await environment().exec(["find", PACKAGE, "-name", "*.py", "-type", "f", "-size", "-1000k"])
    names = [Path(line).relative_to(PACKAGE).as_posix() for line in listed.stdout.splitlines()]
    return {name: await environment().read_file(f"{PACKAGE}/{name}") for name in names}


def _graded(case: Bug, sources: dict[str, str]) -> Grade:
    with tempfile.TemporaryDirectory() as temporary:
        return grade(write_sources(sources, Path(temporary) / PACKAGE), [case], planted([case]))
