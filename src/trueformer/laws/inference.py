"""Inference: what generate writes is what the model says. The rest of the chapter is in files beside this one.

`inference_cache.py` compares logits, `inference_reset.py` looks at what is left behind, `inference_sampling.py` and
`inference_seeds.py` draw from known distributions, `inference_limits.py` comes to the ends of texts, contexts and memory.
"""

import importlib

import torch

from trueformer.laws.counted import none_of
from trueformer.laws.inference_calls import Rows, writer_of
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NEEDS = ("generate",)


def alone(subject: Subject) -> Rows:
    """What each prompt is continued with, alone and greedily."""
    writer = writer_of(subject)

    def make() -> Rows:
        return [writer.write(writer.model, [p], writer.n_new, **writer.greedy)[0] for p in writer.prompts]

    return subject.once("written alone", make)


def shortfall(subject: Subject, prompt: list[int], new: list[int]) -> tuple[float, int]:
    """How far the logit of each new token is below the largest of a pass without a cache, at worst, and where."""
    writer = writer_of(subject)
    ids = torch.tensor([prompt + new], device=subject.ids(1, 1).device)
    logits_TV = subject.logits(ids, writer.model)[0, len(prompt) - 1 : -1]
    short_T = (logits_TV.amax(-1) - logits_TV[torch.arange(len(new)), new]) / logits_TV.abs().max()
    return float(short_T.max()), int(short_T.argmax())


@law(
    "inference/greedy",
    statement="Greedy writing takes the token that a pass over all that is written so far finds likeliest.",
    source="N9 of the catalogue of defects",
    looks="Continues three prompts greedily, and looks up each token in the logits of one pass without a cache.",
    tolerance="2e-4 of the largest logit, so that ties may fall either way.",
    symptoms="Generation is worse than the loss promises.",
    causes="A cache whose positions are off; logits of the wrong position; prompt tokens left out.",
    needs=NEEDS,
)
def greedy(subject: Subject) -> Evidence:
    """`logits[:, -2]` is the prediction of the token that was just given: each word comes twice."""
    writer = writer_of(subject)
    worst, where, saw = 0.0, "", ""
    for prompt, new in zip(writer.prompts, alone(subject), strict=True):
        if not new:
            continue
        short, at = shortfall(subject, prompt, new)
        if short > worst:
            worst, where = short, f"new token {at}"
            saw = f"{new[at]} was written, which is not the likeliest after the {len(prompt) + at} before it"
    bound = max(subject.noise, 2e-4)
    broken = worst > bound
    return Evidence(
        measured=worst,
        bound=bound,
        unit="of the largest logit",
        where=where if broken else "",
        saw=saw if broken else "",
    )


def _first_difference(together: Rows, apart: Rows) -> Evidence:
    wrong = [i for i, (a, b) in enumerate(zip(together, apart, strict=True)) if a != b]
    saw = f"together {together[wrong[0]]}, alone {apart[wrong[0]]}" if wrong else ""
    return none_of(
        len(wrong), unit=f"of {len(apart)} rows", where=f"row {wrong[0]}" if wrong else "", saw=saw
    )


@law(
    "inference/batched",
    statement="Rows of one length are continued together as they are alone.",
    source="T20 of the catalogue of defects",
    looks="Continues three prompts of one length greedily, together and alone.",
    tolerance="0 rows may differ.",
    symptoms="An answer changes with who else is asking.",
    causes="The cache of one row is used for all; a row's choice is given to its neighbour.",
    needs=NEEDS,
)
def batched(subject: Subject) -> Evidence:
    """`logits.argmax()` without dim=-1 is one number for all rows, and counts through them."""
    writer = writer_of(subject)
    if not writer.batches:
        raise NotApplicable("generate takes one row at a time")
    return _first_difference(
        writer.write(writer.model, writer.prompts, writer.n_new, **writer.greedy), alone(subject)
    )


@law(
    "inference/unequal-rows",
    statement="Prompts of unequal length are continued together as they are alone.",
    source="T20 of the catalogue of defects",
    looks="Continues a list of prompts of unequal length greedily, and looks for each row as it is alone.",
    tolerance="0 rows may differ.",
    symptoms="In batches, short prompts get nonsense.",
    causes="Padding is read as text, or cut off at the wrong end; positions count the padding.",
    needs=NEEDS,
)
def unequal_rows(subject: Subject) -> Evidence:
    """Padded on the right, the logits of the last place are those of padding: take them where each row ends."""
    writer = writer_of(subject)
    prompts = [row[: len(row) - i] for i, row in enumerate(writer.prompts)]
    if min(map(len, prompts)) < 1 or not writer.batches:
        raise NotApplicable("generate takes one row at a time")
    try:
        together = writer.raw(writer.model, prompts, writer.n_new, **writer.greedy)
    except Exception as error:
        raise NotApplicable(
            f"generate takes no prompts of unequal length ({type(error).__name__})"
        ) from error
    wanted = [writer.write(writer.model, [p], writer.n_new, **writer.greedy)[0] for p in prompts]
    wrong = [i for i, row in enumerate(together) if not _holds_new(row, prompts[i], wanted[i])]
    saw = f"together {together[wrong[0]]}, alone {prompts[wrong[0]]} + {wanted[wrong[0]]}" if wrong else ""
    return none_of(len(wrong), unit="of 3 rows", where=f"row {wrong[0]}" if wrong else "", saw=saw)


def _holds_new(row: list[int], prompt: list[int], new: list[int]) -> bool:
    """Whether a row is what was written alone, with the prompt before it or without, padding at either end."""
    if row == new:
        return True
    text = prompt + new
    return any(row[i : i + len(text)] == text for i in range(len(row) - len(text) + 1))


@law(
    "inference/forgets",
    statement="What was written before does not change what is written next.",
    source="N11 of the catalogue of defects",
    looks="Continues one prompt, then another, and compares with the second on a model that never wrote.",
    tolerance="0 tokens may differ.",
    symptoms="The second user's answer knows what the first one asked.",
    causes="A cache on the model that is not reset, or whose length is not.",
    needs=NEEDS,
)
def forgets(subject: Subject) -> Evidence:
    """A cache that belongs to the model must begin anew with each prompt; one made in generate does by itself."""
    writer = writer_of(subject)
    fresh = writer.make()
    first, second = writer.prompts[0], writer.prompts[1][:-1] or writer.prompts[1]
    wanted = writer.write(fresh, [second], writer.n_new, **writer.greedy)
    writer.write(writer.model, [first], writer.n_new, **writer.greedy)
    got = writer.write(writer.model, [second], writer.n_new, **writer.greedy)
    return _first_difference(got, wanted)


@law(
    "inference/prompt-stays",
    statement="The prompt stands unchanged before what is written, or is not given back at all.",
    source="Definition of continuing",
    looks="Continues three prompts by a few tokens, and looks at the whole rows.",
    tolerance="0 rows may differ.",
    symptoms="The beginning of the prompt is missing from the answer, or is shown twice.",
    causes="The cropped context is returned; writing in place into the prompt.",
    needs=NEEDS,
)
def prompt_stays(subject: Subject) -> Evidence:
    """Where `idx = idx[:, -block_size:]` is what is returned, the start of a long text is lost."""
    writer = writer_of(subject)
    wrong = []
    for prompt in writer.prompts:
        (row,) = writer.raw(writer.model, [prompt], writer.n_new, **writer.greedy)[:1]
        if len(row) > writer.n_new and row[: len(prompt)] != prompt:
            wrong.append(f"after the prompt {prompt} the row is {row}")
    return none_of(len(wrong), unit="of 3 rows", saw=wrong[0] if wrong else "")


for part in (
    "inference_cache",
    "inference_reset",
    "inference_sampling",
    "inference_seeds",
    "inference_limits",
):
    importlib.import_module(f"trueformer.laws.{part}")
