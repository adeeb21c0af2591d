"""Laws of conversations: known ones are given to the owner's `chats` and found again in the batches it makes.

Judged is what is learned of them. A loss over every token, with no mask, is a convention; a mask that is there must
show the right ones. Shapes: B rows, T tokens.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trueformer.laws.data_batches import take
from trueformer.laws.data_words import Line, Place, lines, planted_words
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import Speech, speech_of
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

TALKS = 30  # of one kind, so that batches are full
READ = 16  # batches
TOOL = "f"
MESSAGES = "OpenAI, Chat Completions: messages with role, content and tool_calls"
MASKED = "Hugging Face TRL, SFTTrainer: assistant_only_loss"


@dataclass(frozen=True, kw_only=True, slots=True)
class Talk:
    """A conversation as messages, and the words planted in it."""

    messages: list[dict[str, Any]]
    question: str
    answer: str = ""  # the last one
    call: str = ""
    result: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A talk's words as they were found in one row, by word."""

    talk: Talk
    line: Line
    places: dict[str, Place]

    def between(self, one: str, other: str) -> tuple[int, int]:
        """From the first token of one word up to the last of another."""
        return self.places[one].first, self.places[other].last + 1


def seen(subject: Subject, kind: str) -> list[Seen]:
    """Where the words of conversations of a kind (`plain`, `results`, `calls`) have come to.

    Raises:
        NotApplicable: they are refused, or are not found in what comes back.
    """
    return subject.once(f"chats: {kind}", lambda: _seen(subject, kind))


def _seen(subject: Subject, kind: str) -> list[Seen]:
    speech = speech_of(subject)
    talks = MAKERS[kind](speech)
    assert subject.chats is not None
    try:
        batches = take(subject.chats([talk.messages for talk in talks]), READ)
    except Exception as error:
        if kind == "plain":
            raise
        raise NotApplicable(f"chats takes no conversations with tools: {error}") from error
    found = []
    for line in lines(batches, speech):
        places = {
            place.word: place for place in line.places if place.first
        }  # nothing asks for the first token
        found += [Seen(talk=talk, line=line, places=places) for talk in talks if talk.question in places]
    if not found:
        raise NotApplicable("no word of the conversations is found in the batches that chats gives")
    return found


def _fours(speech: Speech) -> list[tuple[str, str, str, str]]:
    """Four words for each conversation."""
    words = planted_words(speech, 4 * TALKS)
    return list(zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True))


def _plain(speech: Speech) -> list[Talk]:
    """Questions and answers; every third conversation goes on once more."""
    talks = []
    for number, (question, answer, another, last) in enumerate(_fours(speech)):
        messages = [_says("user", question), _says("assistant", answer)]
        if number % 3 == 0:
            messages, answer = [*messages, _says("user", another), _says("assistant", last)], last
        talks.append(Talk(messages=messages, question=question, answer=answer))
    return talks


def _with_calls(speech: Speech) -> list[Talk]:
    """A tool is called, and nothing has come back yet."""
    talks = []
    for question, call, _, _ in _fours(speech):
        function = {"name": TOOL, "arguments": f'{{"input": "{call}"}}'}
        calls = {"tool_calls": [{"id": "call_0", "type": "function", "function": function}]}
        messages = [_says("user", question), _says("assistant", "") | calls]
        talks.append(Talk(messages=messages, question=question, call=call))
    return talks


def _with_results(speech: Speech) -> list[Talk]:
    """The same, and the tool answers, and the assistant goes on."""
    talks = []
    for talk, (_, _, result, answer) in zip(_with_calls(speech), _fours(speech), strict=True):
        answers = _says("tool", result) | {"tool_call_id": "call_0", "name": TOOL}
        messages = [*talk.messages, answers, _says("assistant", answer)]
        talks.append(dataclasses.replace(talk, messages=messages, result=result, answer=answer))
    return talks


MAKERS = {"plain": _plain, "results": _with_results, "calls": _with_calls}


def _says(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _answered(found: list[Seen]) -> list[Seen]:
    """Those whose answer stands behind the question in the same row.

    Raises:
        NotApplicable: there is none.
    """
    whole = [s for s in found if s.talk.answer in s.places and _in_order(s, s.talk.question, s.talk.answer)]
    if not whole:
        raise NotApplicable("no conversation is whole in a row of the batches that chats gives")
    return whole


def _in_order(found: Seen, one: str, other: str) -> bool:
    return found.places[one].last < found.places[other].first


def _refuse_without_mask(found: list[Seen]) -> None:
    """Where every token between question and answer is learned there is no mask."""
    for one in found:
        first, end = one.between(one.talk.question, one.talk.answer)
        if not all(one.line.learned[first:end]):
            return
    raise NotApplicable("every token of a conversation is learned: there is no mask")


def _share(found: list[Seen], word: str, learned: bool) -> float:
    """How many of these words are learned, or are not, as a share."""
    judged = [s.line.is_learned(s.places[getattr(s.talk, word)]) == learned for s in found]
    return sum(judged) / len(judged)


@law(
    "data/chat-learns-answers",
    statement="What the assistant says is learned, from its first token to its last.",
    source=MASKED,
    looks="Gives conversations of known words to `chats` and looks whether the last answer's are targets that count.",
    tolerance="None.",
    symptoms="The model writes the user's turns, or begins its answers in the middle of a word.",
    causes="An inverted mask; a mask that is one token early or late.",
    needs=("chats", "tokenizer"),
)
def chat_learns_answers(subject: Subject) -> Evidence:
    """`<user> why? <assistant> so <end>` with the mask 0 0 0 1 1: what is learned is `so` and the end of the turn.

    The mask belongs to the token that is predicted. Cut like the inputs and not like the targets it is one early: the
    first token of the answer is not learned, and what follows the turn is.
    """
    missed = _share(_answered(seen(subject, "plain")), "answer", learned=False)
    return Evidence(
        measured=missed, bound=0.0, unit="of the answers", where="the batches of chats",
        saw=f"{missed:.0%} of the answers are not learned, or not from their first token on" if missed else "",
    )  # fmt: skip


@law(
    "data/chat-leaves-questions",
    statement="Where there is a mask, what the user says is not learned.",
    source=MASKED,
    looks="Gives conversations of known words to `chats` and looks whether the user's are targets that count.",
    tolerance="None. No mask at all is a convention, and not judged.",
    symptoms="The model answers its own questions, and asks them.",
    causes="An inverted mask; a role that was forgotten when the mask was made.",
    needs=("chats", "tokenizer"),
)
def chat_leaves_questions(subject: Subject) -> Evidence:
    """`<user> why? <assistant> so <end>` with the mask 0 1 0 1 1 teaches to ask as much as to answer."""
    found = _answered(seen(subject, "plain"))
    _refuse_without_mask(found)
    learned = _share(found, "question", learned=True)
    return Evidence(
        measured=learned, bound=0.0, unit="of the questions", where="the batches of chats",
        saw=f"{learned:.0%} of the users' words are learned" if learned else "",
    )  # fmt: skip


@law(
    "data/chat-ends-turns",
    statement="The end of the assistant's turn is learned.",
    source="OpenAI, ChatML; a turn that never ends is what a model without it writes",
    looks="Looks whether the token that follows the last answer's words is a target that counts.",
    tolerance="None.",
    symptoms="The model does not stop: it goes on with the user's next turn, or repeats itself.",
    causes="The mask ends with the words; the end of turn is also the padding, and padding is masked.",
    needs=("chats", "tokenizer"),
)
def chat_ends_turns(subject: Subject) -> Evidence:
    """`<assistant> so <end>` with the mask 0 1 0 teaches what to say, and never that this was all."""
    found = _answered(seen(subject, "plain"))
    said = [(s.line, s.places[s.talk.answer]) for s in found]
    followed = [line.learned[place.last + 1] for line, place in said if place.last + 1 < len(line.ids)]
    if not followed:
        raise NotApplicable("no answer has a token after it")
    missed = 1 - sum(followed) / len(followed)
    return Evidence(
        measured=missed, bound=0.0, unit="of the answers", where="the batches of chats",
        saw=f"after {missed:.0%} of the answers nothing that ends them is learned" if missed else "",
    )  # fmt: skip


@law(
    "data/chat-leaves-results",
    statement="Where there is a mask, what a tool answers is not learned.",
    source="Schick et al. 2023, arXiv:2302.04761: the program puts the result in",
    looks="Gives conversations with a call and its result to `chats` and looks whether results are targets that count.",
    tolerance="None. No mask at all is a convention, and not judged.",
    symptoms="The model makes up results in place of waiting for them.",
    causes="All between the beginning and the end of the assistant's turn is learned, what the tool wrote as well.",
    needs=("chats", "tokenizer"),
)
def chat_leaves_results(subject: Subject) -> Evidence:
    """`<call> 6*7 <end> <output> 42 <end> It is 42.`: learned are the call and the words, not the first 42."""
    found = [s for s in _answered(seen(subject, "results")) if s.talk.result in s.places]
    if not found:
        raise NotApplicable("no result of a tool is found in the batches that chats gives")
    _refuse_without_mask(found)
    learned = _share(found, "result", learned=True)
    return Evidence(
        measured=learned, bound=0.0, unit="of the results", where="the batches of chats",
        saw=f"{learned:.0%} of what tools answered is learned as if the assistant had said it" if learned else "",
    )  # fmt: skip


@law(
    "data/chat-opens-results",
    statement="A tool's result follows its call, behind a mark that opens it.",
    source=MESSAGES,
    looks="Compares the tokens between call and result with those that end a call that has no result yet.",
    tolerance="At least one token more, in every conversation.",
    symptoms="The model reads the result as a part of the call, and garbles the conversation from there on.",
    causes="The opening mark is written after the result, or not at all.",
    needs=("chats", "tokenizer"),
)
def chat_opens_results(subject: Subject) -> Evidence:
    """A call ends with `</call>`, a result stands in `<output>` and `</output>`: between the two are `</call><output>`.

    Written as `</call> 42 <output></output>`, the mark comes too late to say what 42 is.
    """
    asked = {s.talk.question: s for s in seen(subject, "calls") if s.talk.call in s.places}
    opened = []
    for one in seen(subject, "results"):
        talk = one.talk
        if talk.question in asked and {talk.call, talk.result} <= set(one.places):
            opened.append(_opening(one, asked[talk.question]))
    if not opened:
        raise NotApplicable("no call and its result are found in the batches that chats gives")
    fewest = min(opened)
    return Evidence(
        measured=float(fewest), bound=1.0, at_least=True, unit="tokens", where="between a call and its result",
        saw="nothing stands before the result that says it is one" if fewest < 1 else "",
    )  # fmt: skip


def _opening(whole: Seen, asked: Seen) -> int:
    """How many tokens stand between call and result that do not merely end the call."""
    call, result = whole.places[whole.talk.call], whole.places[whole.talk.result]
    between = whole.line.ids[call.last + 1 : result.first]
    ending = asked.line.ids[asked.places[asked.talk.call].last + 1 :]
    alike = next((i for i, pair in enumerate(zip(between, ending, strict=False)) if pair[0] != pair[1]), None)
    same = min(len(between), len(ending)) if alike is None else alike
    return len(between) - same if call.last < result.first else 0
