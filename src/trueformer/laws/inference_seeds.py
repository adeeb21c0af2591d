"""Seeds, and the penalty for repeating. Part of `inference.py`."""

import torch

from trueformer.laws.counted import none_of
from trueformer.laws.inference_calls import Writer, writer_of
from trueformer.laws.inference_forced import Forced, four_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NEEDS = ("generate",)


def _even(writer: Writer) -> torch.Tensor:
    return torch.zeros(writer.subject.vocab_size or 0)


@law(
    "inference/seed-repeats",
    statement="The same seed draws the same tokens.",
    source="PyTorch notes on reproducibility",
    looks="Draws twice with one seed from a distribution in which all tokens are alike.",
    tolerance="0 rows may differ.",
    symptoms="A bug seen in one answer cannot be seen again.",
    causes="The generator is made and not handed to multinomial; it lives on between calls.",
    needs=NEEDS,
)
def seed_repeats(subject: Subject) -> Evidence:
    """Where there is no seed to give, torch's own random numbers begin alike, which must be enough."""
    writer = writer_of(subject)
    first, second = (_with_seed(writer, 1, luck) for luck in (0, int("seed" in writer.names)))
    return none_of(int(first != second), saw=f"one seed drew {first[0][:6]}, then {second[0][:6]}")


@law(
    "inference/seeds-differ",
    statement="Different seeds draw different tokens.",
    source="PyTorch notes on reproducibility",
    looks="Draws with two seeds from a distribution in which all tokens are alike.",
    tolerance="0 pairs alike.",
    symptoms="Eight samples of one prompt are one sample.",
    causes="A fixed manual_seed inside generate.",
    needs=NEEDS,
)
def seeds_differ(subject: Subject) -> Evidence:
    """`torch.manual_seed(42)` in the first line of generate makes every answer the same."""
    writer = writer_of(subject)
    writer.asked("seed")
    first, second = (_with_seed(writer, seed, 0) for seed in (1, 2))
    return none_of(int(first == second), saw=f"seeds 1 and 2 both drew {first[0][:6]}")


def _with_seed(writer: Writer, seed: int, luck: int) -> list[list[int]]:
    """Six tokens by a seed, if one can be given; `luck` is where torch's own random numbers begin."""
    options = writer.plain(**({"seed": seed} if "seed" in writer.names else {}))
    room = max(1, (writer.subject.max_len or 64) - 1)
    return Forced(writer, _even(writer)).write([writer.prompts[0][:1]], min(6, room), luck=luck, **options)


@law(
    "inference/seeds-of-rows",
    statement="A row draws with its own seed what it draws with it alone.",
    source="T20 of the catalogue of defects",
    looks="Draws two rows with two seeds together, and each alone, from a distribution in which all tokens are alike.",
    tolerance="0 rows may differ.",
    symptoms="An answer that was seen in a batch cannot be had again alone; all rows draw alike.",
    causes="The first row's seed is used for all; one generator draws for all rows in turn.",
    needs=NEEDS,
)
def seeds_of_rows(subject: Subject) -> Evidence:
    """With one generator for a batch, row 2 gets the second number: alone, with the same seed, it gets the first."""
    writer = writer_of(subject)
    writer.asked("seeds")
    if not writer.batches:
        raise NotApplicable("generate takes one row at a time")
    prompt, n = writer.prompts[0][:1], min(6, max(1, (subject.max_len or 64) - 1))
    forced, seeds = Forced(writer, _even(writer)), [1, 2]
    together = forced.write([prompt, prompt], n, **writer.plain(seeds=seeds))
    alone = [forced.write([prompt], n, **writer.plain(seeds=[seed]))[0] for seed in seeds]
    wrong = [i for i in range(2) if together[i] != alone[i]]
    saw = (
        f"seed {seeds[wrong[0]]} drew {together[wrong[0]]} in a batch, alone {alone[wrong[0]]}"
        if wrong
        else ""
    )
    return none_of(len(wrong), unit="of 2 rows", where=f"row {wrong[0]}" if wrong else "", saw=saw)


@law(
    "inference/repetition-penalty",
    statement="A repetition penalty makes tokens that were seen less likely, whatever the sign of their logits.",
    source="Keskar et al. 2019, arXiv:1909.05858, §4.1",
    looks="Gives a seen token and another nearly the same logit, above 0 and below, and takes the likeliest.",
    tolerance="0 times the seen one.",
    symptoms="With the penalty, text repeats itself all the more.",
    causes="Dividing logits that are below 0, which raises them.",
    needs=NEEDS,
)
def repetition_penalty(subject: Subject) -> Evidence:
    """-1 / 1.5 is -0.67, more than before: logits below 0 are multiplied, those above divided."""
    writer = writer_of(subject)
    writer.asked("penalty")
    seen, other = writer.prompts[0][0], four_ids(writer)[0]
    wrong = []
    for level in (1.0, -1.0):
        logits_V = torch.full((subject.vocab_size or 0,), -60.0)
        logits_V[seen], logits_V[other] = level + 0.02, level
        (row,) = Forced(writer, logits_V).write([[seen]], 1, **writer.greedy | {"penalty": 1.5})
        if row[0] == seen:
            wrong.append(f"a seen token of logit {level + 0.02} is preferred to a new one of {level}")
    return none_of(len(wrong), saw=wrong[0] if wrong else "")
