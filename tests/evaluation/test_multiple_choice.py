"""Multiple choice: likelihoods are those of a plain forward, and questions are read or refused by line."""

import json

import pytest
import torch

from trueformer.evaluation.multiple_choice import Choice, likelihoods, read_choices, score_choices
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.tokenization.bpe import train_bpe

TOKENIZER = train_bpe(["Question: what is it? Answer: a red fox or a grey hen"], 300)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    config = DecoderConfig(
        vocab_size=TOKENIZER.vocab_size, max_len=96, d_model=32, n_layers=2, n_heads=2, init_std=0.2
    )
    return LoadedModel(model=DecoderLM(config).eval(), tokenizer=TOKENIZER, config=config, source="m")


CHOICES = ("fox", "a grey hen", "no")


def test_likelihoods_are_sums_over_the_tokens_of_each_choice_alone(loaded):
    context = "Question: what is it?\nAnswer:"
    found = likelihoods(loaded.model, TOKENIZER, context, CHOICES)
    before = TOKENIZER.encode(context, bos=True)
    for choice, logp in zip(CHOICES, found, strict=True):
        ids = TOKENIZER.encode(f"{context} {choice}", bos=True)
        with torch.inference_mode():
            logp_TV = loaded.model(torch.tensor([ids]))[0].log_softmax(-1)
        alone = sum(float(logp_TV[i - 1, ids[i]]) for i in range(len(before), len(ids)))
        assert logp == pytest.approx(alone, abs=1e-4)


def test_the_likeliest_choice_is_the_models_answer_summed_and_per_byte(loaded):
    context = Choice(question="what?", choices=CHOICES, answer=0).context
    logp = likelihoods(loaded.model, TOKENIZER, context, CHOICES)
    best = logp.index(max(logp))
    normed = [p / len(c) for p, c in zip(logp, CHOICES, strict=True)]
    per_byte = normed.index(max(normed))
    asked = [Choice(question="what?", choices=CHOICES, answer=i) for i in (best, best, per_byte)]
    scores = score_choices(loaded, asked)
    assert scores.summed.correct == sum(c.answer == best for c in asked)
    assert scores.per_byte.correct == sum(c.answer == per_byte for c in asked)
    assert scores.summed.total == 3


def test_answers_may_be_places_letters_or_texts(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"question": "q", "choices": ["x", "y"], "answer": answer} for answer in (1, "B", "y")]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    assert [question.answer for question in read_choices(path)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"question": "q"}', "line 2: expected an object with question, choices, answer"),
        ("[1]", "line 2: expected an object"),
        ("{", "line 2"),
        ('{"question": "q", "choices": ["x"], "answer": 0}', "expected at least 2"),
        ('{"question": "q", "choices": ["x", "y"], "answer": 2}', "expected 0 to 1"),
        ('{"question": "q", "choices": ["x", "y"], "answer": "z"}', "expected a place from 0"),
        ('{"question": "q", "choices": ["x", 3], "answer": 0}', "choices that are texts"),
        ('{"question": 1, "choices": ["x", "y"], "answer": 0}', "a question that is text"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, row, message):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "q", "choices": ["x", "y"], "answer": 0}\n' + row)
    with pytest.raises(ValueError, match=message):
        read_choices(path)


def test_an_empty_file_and_a_question_beyond_the_model_are_refused(tmp_path, loaded):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n")
    with pytest.raises(ValueError, match="has no questions"):
        read_choices(path)
    with pytest.raises(ValueError, match="expected at most the model's 96"):
        score_choices(loaded, [Choice(question="q" * 500, choices=("x", "y"), answer=0)])
