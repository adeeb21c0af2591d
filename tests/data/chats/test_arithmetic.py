"""Made problems: right, unlimited, the same everywhere, and never both trained on and asked."""

import re
import subprocess
import sys
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.chats.arithmetic import NAMES, TEMPLATES, THINGS, Arithmetic, decimal, problems, value
from trueformer.data.chats.grading import last_number
from trueformer.tokenization.conversations import Text, ToolCall, ToolResult

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def worked_out(expression: str) -> Fraction:
    """The slow twin: numbers and operators on two stacks, as Dijkstra did."""
    numbers: list[Fraction] = []
    waiting: list[str] = []

    def apply() -> None:
        right, left, sign = numbers.pop(), numbers.pop(), waiting.pop()
        if sign == "/":
            numbers.append(left / right)
        else:
            numbers.append({"+": left + right, "-": left - right, "*": left * right}[sign])

    tokens = re.findall(r"[0-9.]+|.", expression)
    for token in tokens:
        if token == "(":
            waiting.append(token)
        elif token == ")":
            while waiting[-1] != "(":
                apply()
            waiting.pop()
        elif token in PRECEDENCE:
            while waiting and waiting[-1] != "(" and PRECEDENCE[waiting[-1]] >= PRECEDENCE[token]:
                apply()
            waiting.append(token)
        else:
            numbers.append(Fraction(token))
    while waiting:
        apply()
    (number,) = numbers
    return number


NUMBER = r"[0-9]+(?:\.[0-9]+)?"


def exchanges(conversations) -> list[tuple]:
    """Every question with its answer."""
    return [
        (asked, reply)
        for conversation in conversations
        for asked, reply in zip(conversation.messages[::2], conversation.messages[1::2], strict=True)
    ]


def test_conversations_have_one_to_three_problems() -> None:
    lengths = [len(conversation.messages) for conversation in Arithmetic(size=1000).train()]
    assert set(lengths) == {2, 4, 6}


def test_every_result_is_right_and_the_last_number_said() -> None:
    task = Arithmetic(size=3000)
    for asked, reply in exchanges(task.train()):
        call, result, said = reply.parts
        assert isinstance(call, ToolCall)
        assert isinstance(result, ToolResult)
        assert isinstance(said, Text)
        assert call.name == "calculator"
        assert Fraction(result.text) == worked_out(call.input) >= 0
        assert re.fullmatch(r"[0-9]+(\.[0-9]*[1-9])?", result.text), "as the calculator prints it"
        assert last_number(said.text) == result.text
        assert task.correct(reply.text, result.text)
        assert sorted(re.findall(NUMBER, asked.text)) == sorted(re.findall(NUMBER, call.input))


def test_every_template_is_used_and_numbers_are_too_large_to_know() -> None:
    made = list(islice(problems(0), 5000))
    shapes = {re.sub("|".join((NUMBER, *NAMES, *THINGS)), "_", problem.text) for problem in made}
    blank = {re.sub(r"\$?\{[a-z]+\}", lambda m: "$_" if "$" in m[0] else "_", text) for text, _ in TEMPLATES}
    assert shapes == blank
    digits = [len(n.replace(".", "")) for p in made for n in re.findall(NUMBER, p.expression)]
    assert set(digits) == {1, 2, 3, 4, 5}
    assert len({problem.text for problem in made}) > 4500


def test_what_is_asked_is_never_trained_on_in_whatever_words() -> None:
    made = list(islice(problems(0), 10_000))
    questions = {question.prompt.messages[0].text for question in Arithmetic(questions=900).held_out()}
    asked = {problem.expression for problem in made if problem.text in questions}
    assert len(asked) > 800
    for seed in (0, 7):
        trained = exchanges(Arithmetic(size=5000, seed=seed).train())
        assert not questions & {question.text for question, _ in trained}
        assert not asked & {
            call.input for _, reply in trained for call in reply.parts if call == reply.parts[0]
        }


def test_sizes_and_seeds() -> None:
    assert (len(Arithmetic(size=3).train()), len(Arithmetic(questions=4).held_out())) == (3, 4)
    assert Arithmetic(size=20).train() == Arithmetic(size=30).train()[:20]
    assert Arithmetic(size=20).train() != Arithmetic(size=20, seed=1).train()
    with pytest.raises(ValueError, match="arithmetic of -1 conversations and 500 questions"):
        Arithmetic(size=-1)


def test_another_process_makes_the_same_problems() -> None:
    program = (
        "import random; random.seed(5)\n"
        "from trueformer.data.chats.arithmetic import problems\n"
        "print(*[next(p).text for p in [problems(3)] for _ in range(50)], sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [problem.text for problem in islice(problems(3), 50)]


def test_the_last_number_counts() -> None:
    task = Arithmetic()
    assert task.correct("347*28, so the answer is 9,716.", "9716")
    assert not task.correct("The answer is 97160.", "9716")
    assert not task.correct("9716 is what 347 times 28 is", "9716")
    assert not task.correct("I do not know.", "9716")


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(0, 4))
def test_decimals_are_exact(whole: int, places: int) -> None:
    number = Fraction(whole, 10**places)
    assert Fraction(decimal(number)) == number
    assert re.fullmatch(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", decimal(number))


def test_a_fraction_that_does_not_end_is_refused() -> None:
    with pytest.raises(ValueError, match="1/3 has no short decimal"):
        decimal(value("1/3"))
