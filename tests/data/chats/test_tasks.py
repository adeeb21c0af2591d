"""What holds for every task, by its name; and what names are refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.data.chats.identity import Identity
from trueformer.data.chats.registry import TASKS, open_task, open_tasks
from trueformer.data.chats.task import Question, Task
from trueformer.tokenization.conversations import Conversation, assistant, user


@pytest.fixture(params=sorted(TASKS))
def task(request: pytest.FixtureRequest, school: Path) -> Task:
    """Every task of the registry, made ones small."""
    if request.param == "chatterbot":
        pytest.importorskip("yaml")
        pytest.importorskip("chatterbot_corpus")
    arguments = {"gsm8k": f":{school}", "arithmetic": ":1000", "spelling": ":1000"}
    return open_task(request.param + arguments.get(request.param, ""))


def test_a_task_is_the_same_every_time_and_says_what_it_is(task: Task) -> None:
    assert task.about
    assert TASKS[task.name].about == task.about
    assert task.train() == task.train()
    assert task.held_out() == task.held_out()
    assert task.held_out()


def test_a_task_teaches_answers_and_asks_what_it_did_not_teach(task: Task) -> None:
    taught = set()
    for conversation in task.train():
        assert conversation.messages[-1].role == "assistant"
        taught |= {message.text for message in conversation.messages if message.role == "user"}
    if task.name != "gsm8k":  # its split is given, and ours overlaps on purpose
        assert not taught & {question.prompt.messages[-1].text for question in task.held_out()}


def test_a_task_accepts_what_it_would_teach_and_not_silence(task: Task) -> None:
    for question in task.held_out():
        right = json.loads(question.answer) if question.answer.startswith("[") else [question.answer]
        assert all(task.correct(reply, question.answer) for reply in right)
        assert not task.correct("", question.answer)
        assert not task.correct("I beg your pardon?", question.answer)


def test_a_question_ends_with_the_user() -> None:
    with pytest.raises(ValueError, match="ends with a message of the assistant: expected the user's"):
        Question(prompt=Conversation.of(user("?"), assistant("!")), answer="!")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("arithmetik", "no task is called 'arithmetik': did you mean 'arithmetic'"),
        ("poetry", r"the tasks are arithmetic\[:SIZE\], gsm8k:FOLDER, chatterbot, spelling"),
        ("", "no task is called ''"),
        ("gsm8k", "'gsm8k' opens no task: expected gsm8k:FOLDER"),
        ("chatterbot:x", "'chatterbot:x' opens no task: expected chatterbot"),
        ("arithmetic:many", "the size is 'many': expected a number of conversations"),
        ("arithmetic:0", "the size is '0': expected a number"),
        ("spelling:" + "9" * 5000, "the size is '9{40}': expected a number"),
    ],
)
def test_a_task_that_is_none_is_refused_with_what_is_known(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        open_task(name)


def test_a_mixture_repeats_what_it_is_told_to() -> None:
    sums, names = open_tasks(["arithmetic:7", "identity:Ada*3"])
    assert len(sums.train()) == 7
    assert names.train() == Identity(called="Ada").train() * 3
    for wrong in ("identity*0", "identity*10001"):
        with pytest.raises(ValueError, match=r"repeats a task \d+ times: expected 1 to 10000"):
            open_tasks([wrong])


def test_no_conversation_needs_torch() -> None:
    program = (
        "import sys, trueformer.data.chats.registry, trueformer.data.chats.jsonl\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
