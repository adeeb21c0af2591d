"""Text in and out: stop strings at any cut, whole characters only, the tokenizer that came with the model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.text import StopStrings, TextDecoding, complete
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.protocol import Tokenizer

GREEDY = SamplingConfig(temperature=0.0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(["to be or not to be, that is the question — «ça» 😀 ждать"] * 3, 300)


@pytest.fixture(scope="module")
def model(build: Callable[..., DecoderLM], tokenizer: Tokenizer) -> DecoderLM:
    return build(vocab_size=tokenizer.vocab_size, max_len=96)


def cut_by_hand(text: str, stops: list[str]) -> tuple[str, bool]:
    """The slow twin: a character at a time; the longest stop string that ends there, if any, is taken off."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.text("ab😀", max_size=4), max_size=8),
    st.lists(st.text("ab😀", min_size=1, max_size=4), max_size=3),
)
def test_stop_strings_cut_the_same_place_however_the_text_comes(pieces: list[str], stops: list[str]) -> None:
    matcher, shown = StopStrings(stops), ""
    expected, found = cut_by_hand("".join(pieces), stops)
    for piece in pieces:
        shown += matcher.push(piece)
        assert expected.startswith(shown), "nothing is shown that must be taken back"
    shown += matcher.finish()
    assert (shown, matcher.found) == (expected, found)


def test_text_that_cannot_become_a_stop_string_does_not_wait() -> None:
    matcher = StopStrings(["\nUser:"])
    assert [matcher.push(piece) for piece in ("Hello", "\nUs", "age", "\nUser", ": more", "x")] == [
        "Hello",
        "",
        "\nUsage",
        "",
        "",
        "",
    ]
    assert matcher.found


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="a stop string is empty"):
        StopStrings(["ok", ""])


@settings(deadline=None, max_examples=15)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_streams_and_wholes_agree_and_never_show_a_stop_string(
    model: DecoderLM, tokenizer: Tokenizer, data: st.DataObject, seed: int
) -> None:
    prompts = ["to be", "или 😀", "q"]
    config = SamplingConfig(seed=seed)
    free = complete(model, tokenizer, prompts, config, max_new_tokens=20)
    # A stop string out of the middle of what would be said, so that it is certain to come up.
    text = free[0].text or " "
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text[start : start + data.draw(st.integers(1, 5))]
    whole = complete(model, tokenizer, prompts, config, max_new_tokens=20, stop=[stop])
    assert whole[0].text == cut_by_hand(text, [stop])[0]
    for before, after in zip(free, whole, strict=True):
        assert after.text == cut_by_hand(before.text, [stop])[0]
        assert stop not in after.text
    pieces = list(TextDecoding(model, tokenizer, prompts, config, max_new_tokens=20, stop=[stop]))
    for row, completion in enumerate(whole):
        mine = [piece for piece in pieces if piece.row == row]
        assert "".join(piece.text for piece in mine) == completion.text
        assert [piece.reason for piece in mine] == [None] * (len(mine) - 1) + [completion.reason]


def test_a_row_stops_computing_at_its_stop_string(model: DecoderLM, tokenizer: Tokenizer) -> None:
    free = complete(model, tokenizer, ["to be"], SamplingConfig(seed=4), max_new_tokens=20)[0]
    stop = free.text[:2]
    cut = complete(model, tokenizer, ["to be"], SamplingConfig(seed=4), max_new_tokens=20, stop=[stop])[0]
    assert (cut.text, cut.reason) == ("", "stop")
    assert len(cut.ids) < len(free.ids)
    assert cut.ids == free.ids[: len(cut.ids)]


def test_text_equals_the_decoded_ids_and_half_characters_wait(model: DecoderLM, tokenizer: Tokenizer) -> None:
    result = complete(model, tokenizer, ["😀"], SamplingConfig(seed=2), max_new_tokens=60)[0]
    assert result.text == tokenizer.decode(result.ids)
    assert "\ufffd" in result.text, "random bytes are no text: only so is the waiting tested"


@torch.no_grad()
def always_saying(token: int, model: DecoderLM, tokenizer: Tokenizer) -> DecoderLM:
    """A copy of the model whose next token after "to be" is `token`, by far."""
    shouting = DecoderLM(model.config).eval()
    shouting.load_state_dict(model.state_dict())
    shouting.embedding.weight[token] *= 0
    shouting.embedding.weight *= 1e-6
    direction = shouting.hidden(torch.tensor([tokenizer.encode("to be", bos=True)]))[0, -1]
    shouting.embedding.weight[token] = direction
    return shouting


@pytest.mark.parametrize("role", ["eos_id", "bos_id"])
def test_an_end_or_a_next_document_ends_a_text_and_is_not_shown(
    role: str, model: DecoderLM, tokenizer: Tokenizer
) -> None:
    shouting = always_saying(getattr(tokenizer, role), model, tokenizer)
    ending = complete(shouting, tokenizer, ["to be"], GREEDY, max_new_tokens=5)[0]
    assert (ending.text, ending.ids, ending.reason) == ("", [], "stop")
    letter = tokenizer.encode("a")[0]
    going_on = complete(
        always_saying(letter, model, tokenizer), tokenizer, ["to be"], GREEDY, max_new_tokens=1
    )[0]
    assert (going_on.ids, going_on.reason) == ([letter], "length")


def test_bos_goes_in_front_as_the_tokenizer_has_it(model: DecoderLM, tokenizer: Tokenizer) -> None:
    def ids(bos: bool) -> list[int]:
        return generate(
            model,
            [tokenizer.encode("to be", bos=bos)],
            GREEDY,
            max_new_tokens=6,
            stop_ids=[tokenizer.eos_id],
        )[0].ids

    assert ids(True) != ids(False)
    for bos, expected in ((None, ids(True)), (True, ids(True)), (False, ids(False))):
        assert complete(model, tokenizer, ["to be"], GREEDY, max_new_tokens=6, bos=bos)[0].ids == expected


def test_special_text_in_a_prompt_stays_text_unless_asked(model: DecoderLM, tokenizer: Tokenizer) -> None:
    def prompt(allow_special: bool) -> list[int]:
        decoding = TextDecoding(
            model, tokenizer, ["<|eos|>"], max_new_tokens=1, bos=False, allow_special=allow_special
        )
        return decoding.tokens.prompts[0]

    assert prompt(True) == [tokenizer.eos_id]
    assert tokenizer.eos_id not in prompt(False)


def test_r19_an_empty_prompt_starts_from_bos_or_is_refused(model: DecoderLM, tokenizer: Tokenizer) -> None:
    assert len(complete(model, tokenizer, [""], GREEDY, max_new_tokens=2)[0].ids) <= 2
    with pytest.raises(ValueError, match="prompt 0 is empty: expected at least one token"):
        complete(model, tokenizer, [""], GREEDY, max_new_tokens=2, bos=False)


def test_t15_a_tokenizer_the_model_cannot_have_had_is_refused(
    build: Callable[..., DecoderLM], tokenizer: Tokenizer
) -> None:
    with pytest.raises(ValueError, match="use the tokenizer saved with the model"):
        complete(build(vocab_size=20), tokenizer, ["to be"], GREEDY, max_new_tokens=2)


def test_t15_a_loaded_run_speaks_with_the_tokenizer_it_was_trained_with(
    build: Callable[..., DecoderLM], tmp_path: Path
) -> None:
    from trueformer.config import to_dict
    from trueformer.load import load_model
    from trueformer.training.checkpoints import save_checkpoint

    # Two alphabets of one size: a tokenizer rebuilt from vocab_size alone could not tell them apart.
    latin, greek = train_characters(["abcdefgh"]), train_characters(["αβγδεζηθ"])
    assert latin.vocab_size == greek.vocab_size
    model = build(vocab_size=greek.vocab_size)
    save_checkpoint(
        tmp_path / "checkpoints" / "step-00000001",
        model_tensors=model.state_dict(),
        optimizer_tensors={},
        state={"step": 1},
        config={"model": to_dict(model.config)},
        tokenizer=greek,
    )
    loaded = load_model(tmp_path)
    assert loaded.tokenizer is not None
    seeds = [SamplingConfig(seed=seed) for seed in range(8)]
    said = complete(loaded.model, loaded.tokenizer, ["βγ"] * 8, seeds, max_new_tokens=15)
    text = "".join(completion.text for completion in said)
    assert text
    assert set(text) <= set("αβγδεζηθ\ufffd")
