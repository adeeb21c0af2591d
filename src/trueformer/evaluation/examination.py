"""Examine a model that converses: ask a task's held-out questions, grade the replies, say how sure that is.

    with open_service("runs/calculator", ServiceConfig()) as service:
        print(examine(service, open_task("arithmetic")))        # 98.4 % of 500 (96.9 to 99.2)

Replies are greedy, so a score is repeatable. Tools are those of the service; without them, a reply that calls
one has nothing to show for it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trueformer.data.chats.task import Question, Task
from trueformer.data.progress import count_line
from trueformer.evaluation.score import Score
from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.request import Event
from trueformer.inference.reply import Reply
from trueformer.inference.service import Service
from trueformer.tokenization.conversations import Part, ToolCall, ToolResult

REPLY_TOKENS = 256
AT_ONCE = 64  # questions handed to the engine, which keeps the rest of them waiting


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A question, the reply, and whether it is right."""

    question: Question
    parts: tuple[Part, ...]
    text: str
    correct: bool

    @property
    def transcript(self) -> str:
        """All of the reply in a line: calls in brackets, results after an arrow."""
        return "".join(_line(part) for part in self.parts)

    @property
    def used_tool(self) -> bool:
        """Whether the reply calls a tool."""
        return any(isinstance(part, ToolCall) for part in self.parts)


def _line(part: Part) -> str:
    if isinstance(part, ToolCall):
        return f"[{part.name} {part.input}]"
    return f"→ {part.text} " if isinstance(part, ToolResult) else part.text


def examine(service: Service, task: Task, *, limit: int | None = None) -> tuple[Score, list[Answered]]:
    """Ask a task's questions, the first `limit` of them; all answers are given back beside the score.

    A question too long for the service counts as wrong.

    Raises:
        ValueError: the task has no questions, or the model knows no chat.
    """
    questions = task.held_out()[:limit]
    if not questions:
        raise ValueError(f"the task {task.name} has no held-out questions: it can be trained on only")
    with count_line(f"asking {task.name}", len(questions)) as advance:
        replies = ask(service, questions, lambda: advance(1))
    answers = [
        Answered(
            question=question,
            parts=tuple(reply.parts) if reply else (),
            text=reply.text if reply else "",
            correct=reply is not None and task.correct(reply.text, question.answer),
        )
        for question, reply in zip(questions, replies, strict=True)
    ]
    return Score(correct=sum(answer.correct for answer in answers), total=len(answers)), answers


def ask(
    service: Service, questions: Sequence[Question], answered: Callable[[], None] = lambda: None
) -> list[Reply | None]:
    """The greedy reply to each question, in order; None where the question does not fit the context."""
    room = threading.Semaphore(AT_ONCE)
    replies: list[Reply | None] = []
    for question in questions:
        room.acquire()
        reply = _start(service, question, lambda: (room.release(), answered()))
        if reply is None:
            room.release()
            answered()
        replies.append(reply)
    for _ in range(AT_ONCE):
        room.acquire()
    return replies


def _start(service: Service, question: Question, ended: Callable[[], object]) -> Reply | None:
    greedy = SamplingConfig(temperature=0.0)
    request = service.chat_request(question.prompt, greedy, max_new_tokens=REPLY_TOKENS)
    reply = service.reply(request)

    def on_events(events: list[Event]) -> None:
        for event in events:
            reply.push(event)
            if event.reason is not None:
                ended()

    try:
        service.thread.start(request, on_events)
    except ValueError:
        return None
    return reply
