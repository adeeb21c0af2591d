"""Word problems in arithmetic, made by rule, as many as wanted; a calculator computes what the words ask.

The assistant always answers in one way: a call with the whole expression, its result, and a sentence.

    user:      Anne has 512 rings and buys 38 more. How many rings has Anne now?
    assistant: calculator(512+38) → 550 "The answer is 550."

Numbers have two to five digits, some of them cents: too many to know by heart, so what is to be learned is
which operation the words mean and to copy numbers digit by digit. An expression is either trained on or
asked, never both, in whatever words. Leaves out negative results and fractions that do not end.
"""

import ast
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import ClassVar

from trueformer.data.chats.grading import last_number, plain
from trueformer.data.chats.task import Question, is_held_out
from trueformer.tokenization.conversations import Conversation, Message, ToolCall, ToolResult, assistant, user

HELD_OUT_ONE_IN = 10
EXCHANGES = (1, 1, 2, 3)  # in a conversation, each as likely: it is the last question that counts
CALCULATOR = "calculator"
NAMES = ("Anne", "John", "Mary", "Peter", "Kate", "Henry", "Helen", "Robin", "Julia", "Tom", "Alice", "Hugh")
THINGS = ("rings", "swords", "letters", "flowers", "books", "crowns", "ships", "coins", "birds", "apples")

# What is asked, and the expression. a, b, c: numbers; m: a multiple of b; p: a price with cents; x: a thing.
TEMPLATES = (
    ("What is {a} + {b}?", "{a}+{b}"),
    ("What is {a} - {b}?", "{a}-{b}"),
    ("What is {a} * {b}?", "{a}*{b}"),
    ("What is {m} / {b}?", "{m}/{b}"),
    ("What is {a} times {b}?", "{a}*{b}"),
    ("What is {a} plus {b}?", "{a}+{b}"),
    ("What is {a} minus {b}?", "{a}-{b}"),
    ("What is {m} divided by {b}?", "{m}/{b}"),
    ("What is {a} * {b} + {c}?", "{a}*{b}+{c}"),
    ("What is ({a} + {b}) * {c}?", "({a}+{b})*{c}"),
    ("{name} has {a} {x} and buys {b} more. How many {x} has {name} now?", "{a}+{b}"),
    ("{name} has {a} {x} and {other} has {b}. How many {x} have they together?", "{a}+{b}"),
    ("{name} finds {a} {x} one day and {b} the next. How many {x} is that?", "{a}+{b}"),
    ("There are {a} {x} here, {b} there and {c} at home. How many {x} are there?", "{a}+{b}+{c}"),
    ("{name} had {a} {x} and lost {b}. How many {x} has {name} now?", "{a}-{b}"),
    ("{name} has {a} {x} and gives {b} to {other}. How many {x} has {name} left?", "{a}-{b}"),
    ("{name} has {a} {x} and {other} has {b}. How many more has {name}?", "{a}-{b}"),
    ("Of {a} {x}, {b} are old. How many are new?", "{a}-{b}"),
    ("{name} gives {b} of {a} {x} to {other}. How many {x} has {name} left?", "{a}-{b}"),
    ("{name} had {a} {x}, gave {b} to {other} and lost {c}. How many {x} are left?", "{a}-{b}-{c}"),
    ("There are {a} boxes with {b} {x} in each. How many {x} are there?", "{a}*{b}"),
    ("{name} makes {a} {x} a day for {b} days. How many {x} is that?", "{a}*{b}"),
    ("{name} sells {a} {x} for {b} dollars each. How many dollars is that?", "{a}*{b}"),
    ("{name} buys {b} {x} at ${p} each. How many dollars does {name} pay?", "{b}*{p}"),
    ("{name} pays ${p} for bread and ${q} for wine. How many dollars is that?", "{p}+{q}"),
    ("{name} puts {m} {x} into {b} equal boxes. How many {x} are in each?", "{m}/{b}"),
    ("{b} friends share {m} {x} equally. How many {x} has each?", "{m}/{b}"),
    ("{name} pays {m} dollars for {b} {x}. How many dollars is each?", "{m}/{b}"),
    ("{name} fills {a} boxes with {b} {x} each and has {c} left. How many {x} is that?", "{a}*{b}+{c}"),
    ("{name} makes {a} {x} a day for {b} days and sells {c}. How many {x} are left?", "{a}*{b}-{c}"),
    ("{name} has {a} {x}, and {other} has {b}. Each of them sells for {c} dollars. How many dollars is that?",
     "({a}+{b})*{c}"),
    ("{name} shares {m} {x} among {b} friends, who had {c} each. How many {x} has each now?", "{m}/{b}+{c}"),
    ("{name} had {a} {x}, lost {b}, and sells the rest for {c} dollars each. How many dollars is that?",
     "({a}-{b})*{c}"),
)  # fmt: skip
OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, the expression that answers it, and what the expression is worth."""

    text: str
    expression: str
    result: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """The task: `size` conversations and `questions` questions, other ones for another `seed`.

    Raises:
        ValueError: a negative number of either.
    """

    size: int = 12_000
    questions: int = 500
    seed: int = 0
    name: ClassVar[str] = "arithmetic"
    about: ClassVar[str] = "word problems in arithmetic that need the calculator (made)"

    def __post_init__(self) -> None:
        if min(self.size, self.questions) < 0:
            raise ValueError(
                f"arithmetic of {self.size} conversations and {self.questions} questions: expected 0 or more"
            )

    def train(self) -> list[Conversation]:
        """Conversations of one to three problems, each with the calculator's answer."""
        made, rng = self._problems(held_out=False), random.Random(self.seed)
        return [answered(islice(made, rng.choice(EXCHANGES))) for _ in range(self.size)]

    def held_out(self) -> list[Question]:
        """Problems whose expressions are not trained on."""
        return [
            Question(prompt=Conversation.of(user(problem.text)), answer=problem.result)
            for problem in islice(self._problems(held_out=True), self.questions)
        ]

    def correct(self, reply: str, answer: str) -> bool:
        """Whether the last number of the reply is the answer."""
        return last_number(reply) == plain(answer)

    def _problems(self, *, held_out: bool) -> Iterator[Problem]:
        made = problems(self.seed)
        return (p for p in made if is_held_out(p.expression, one_in=HELD_OUT_ONE_IN) == held_out)


def answered(problems: Iterable[Problem]) -> Conversation:
    """The problems one after the other, each with the assistant's whole answer."""
    messages: list[Message] = []
    for problem in problems:
        call, result = ToolCall(CALCULATOR, problem.expression), ToolResult(problem.result)
        messages += [user(problem.text), assistant(call, result, f"The answer is {problem.result}.")]
    return Conversation(tuple(messages))


def problems(seed: int) -> Iterator[Problem]:
    """Problems without end, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        text, expression = rng.choice(TEMPLATES)
        values = _values(rng)
        expression = expression.format(**values)
        result = value(expression)
        if result >= 0:
            yield Problem(text.format(**values), expression, decimal(result))


def _values(rng: random.Random) -> dict[str, str]:
    a, b, c = _number(rng, 4), _number(rng, 3), _number(rng, 3)
    name, other = rng.sample(NAMES, 2)
    numbers = {"a": a, "b": b, "c": c, "m": b * _number(rng, 2)}
    prices = {key: f"{rng.randint(2, 99)}.{rng.randint(1, 99):02}" for key in "pq"}
    words = {"name": name, "other": other, "x": rng.choice(THINGS)}
    return {key: str(number) for key, number in numbers.items()} | prices | words


def _number(rng: random.Random, digits: int) -> int:
    """A number of two digits or more, each length as likely."""
    length = rng.randint(2, digits)
    return rng.randint(10 ** (length - 1), 10**length - 1)


def value(expression: str) -> Fraction:
    """What an expression of our own making is worth, exactly."""
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp):
        return OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    assert isinstance(node, ast.Constant)
    return Fraction(str(node.value))


def decimal(number: Fraction) -> str:
    """A number as the calculator prints it: whole numbers plainly, others without needless zeros.

    Raises:
        ValueError: its decimals do not end within twelve places.
    """
    scaled = number * 10**12
    if scaled.denominator != 1:
        raise ValueError(f"{number} has no short decimal: expected a whole number, or decimals that end")
    digits = f"{abs(scaled.numerator):013}"
    return plain(("-" if number < 0 else "") + f"{digits[:-12]}.{digits[-12:]}")
