"""Examining: scores with their interval, replies graded in order, tools or none."""

import math

import pytest
import torch

from trueformer.data.chats.task import Question
from trueformer.evaluation.examination import Score, examine
from trueformer.inference.service import Service, ServiceConfig
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user

SAID = {"6*7?": ("6*7", "42"), "8-9?": ("8-9", "-1"), "2+2?": ("2+2", "4")}


class Sums:
    """Three sums, of which the model is taught the tool's use and the answer."""

    name = "sums"
    about = "three sums"

    def train(self) -> list[Conversation]:
        return [
            Conversation.of(
                user(asked), assistant(ToolCall("calculator", call), ToolResult(result), f"It is {result}.")
            )
            for asked, (call, result) in SAID.items()
        ]

    def held_out(self) -> list[Question]:
        return [Question(prompt=Conversation.of(user(asked)), answer=a) for asked, (_, a) in SAID.items()]

    def correct(self, reply: str, answer: str) -> bool:
        return reply == f"It is {answer}."


@pytest.fixture(scope="module")
def taught() -> LoadedModel:
    torch.manual_seed(0)
    tokenizer = train_bpe(["It is 42. calculator 6*7"], 270).extended([*OURS.tokens, *TOOL_TOKENS])
    chat = MarkedFormat(tokenizer, OURS)
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, max_len=64, d_model=64, n_layers=2, n_heads=2)
    model = DecoderLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    lessons = [chat.render(conversation) for conversation in Sums().train()]
    for step in range(240):
        ids, trained = (torch.tensor(x) for x in lessons[step % 3][:2])
        targets = torch.where(trained[1:], ids[1:], -100)
        loss = torch.nn.functional.cross_entropy(model(ids[None, :-1])[0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return LoadedModel(model=model.eval(), tokenizer=tokenizer, config=config, source="taught")


def test_every_question_is_asked_and_graded_in_order(taught):
    with Service(taught, ServiceConfig(n_slots=2, slot_len=64)) as service:
        score, answers = examine(service, Sums())
        assert examine(service, Sums(), limit=1)[0].total == 1
    assert (score.correct, score.total) == (3, 3)
    assert [answer.text for answer in answers] == ["It is 42.", "It is -1.", "It is 4."]
    assert all(answer.used_tool and answer.correct for answer in answers)
    assert answers[0].transcript == "[calculator 6*7]→ 42 It is 42."


def test_without_tools_nothing_is_answered(taught):
    with Service(taught, ServiceConfig(n_slots=2, slot_len=64, tools=())) as service:
        score, answers = examine(service, Sums())
    assert score.correct == 0
    assert all(answer.used_tool and not answer.text for answer in answers)


def test_a_question_that_does_not_fit_counts_as_wrong(taught):
    class Long(Sums):
        def held_out(self) -> list[Question]:
            return [Question(prompt=Conversation.of(user("9" * 100)), answer="1"), *super().held_out()]

    with Service(taught, ServiceConfig(n_slots=1, slot_len=64)) as service:
        score, answers = examine(service, Long())
    assert (score.correct, score.total) == (3, 4)
    assert answers[0].parts == ()


def test_a_model_that_knows_no_chat_is_refused(taught):
    tokenizer = train_bpe(["abc"], 262)
    config = DecoderConfig(vocab_size=262, max_len=64, d_model=16, n_layers=1, n_heads=2)
    plain = LoadedModel(model=DecoderLM(config).eval(), tokenizer=tokenizer, config=config, source="plain")
    with (
        Service(plain, ServiceConfig(n_slots=1, slot_len=64)) as service,
        pytest.raises(ValueError, match="not taught to converse"),
    ):
        examine(service, Sums())


@pytest.mark.parametrize(("correct", "total"), [(0, 20), (10, 20), (495, 500), (1, 1)])
def test_the_ends_of_the_interval_are_just_196_standard_errors_from_the_share(correct, total):
    """Wilson's definition: the true shares p for which |share - p| = z √(p (1 - p) / n)."""
    score = Score(correct=correct, total=total)
    for end in score.interval:
        assert abs(score.share - end) == pytest.approx(
            1.959964 * math.sqrt(end * (1 - end) / total), abs=1e-9
        )
    assert score.interval[0] <= score.share <= score.interval[1]


def test_a_score_of_nothing_says_nothing():
    assert math.isnan(Score(correct=0, total=0).share)
    assert Score(correct=0, total=0).interval == (0.0, 1.0)
    assert str(Score(correct=99, total=100)) == "99.0 % of 100 (94.6 to 99.8)"
