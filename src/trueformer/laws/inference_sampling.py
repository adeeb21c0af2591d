"""Sampling: temperature, top-k, top-p, min-p and seeds, on distributions that are known. Part of `inference.py`.

The model is made to say p = 0.4, 0.3, 0.2, 0.1 for four tokens; what comes out is counted.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from trueformer.laws.counted import none_of
from trueformer.laws.inference_calls import Writer, writer_of
from trueformer.laws.inference_forced import Forced, four_ids, masses
from trueformer.laws.law import Evidence, law
from trueformer.subject.subject import Subject

SHARES = (0.4, 0.3, 0.2, 0.1)
NEEDS = ("generate",)
CHANCE = 40.0  # chi-squared with three degrees of freedom is beyond it once in 10^8


def drawn(writer: Writer, **options: Any) -> Counter[int]:
    """How often each of the four tokens came, by its place among them; -1 are others."""
    ids = four_ids(writer)
    tokens = Forced(writer, masses(writer, SHARES)).draws(**writer.plain(**options))
    return Counter(ids.index(token) if token in ids else -1 for token in tokens)


def surprise(counts: Counter[int], shares: list[float]) -> float:
    """Chi-squared of the counts against the shares; infinite where something came that could not."""
    total, whole = sum(counts.values()), sum(shares)
    if counts[-1]:
        return math.inf
    return sum((counts[i] - total * p / whole) ** 2 / (total * p / whole) for i, p in enumerate(shares))


def frequencies(writer: Writer, shares: list[float], **options: Any) -> Evidence:
    """Evidence that what is drawn comes as often as it should."""
    counts = drawn(writer, **options)
    measured = surprise(counts, shares)
    got = ", ".join(f"{counts[i] / sum(counts.values()):.2f}" for i in range(4))
    want = ", ".join(f"{p / sum(shares):.2f}" for p in shares)
    saw = f"tokens of share {want} came with {got}" if not measured <= CHANCE else ""
    return Evidence(measured=measured, bound=CHANCE, unit="chi-squared", saw=saw)


def only(writer: Writer, wanted: int, said: str, **options: Any) -> str:
    """What is wrong if others than the `wanted` likeliest tokens came, or not all of these; nothing if nothing is."""
    came = set(drawn(writer, **options))
    if came == set(range(wanted)):
        return ""
    names = {0: "0.4", 1: "0.3", 2: "0.2", 3: "0.1", -1: "0"}
    shares = ", ".join(names[i] for i in sorted(came, key=lambda i: names[i], reverse=True))
    return f"{said} of the shares 0.4, 0.3, 0.2, 0.1 leaves {wanted}; what came has shares {shares}"


def faults(found: Iterable[str]) -> Evidence:
    """Evidence of the first thing that is said to be wrong; what comes after it is not tried."""
    wrong = next((words for words in found if words), "")
    return none_of(int(bool(wrong)), saw=wrong)


@law(
    "inference/frequencies",
    statement="Tokens are drawn as often as their probabilities say.",
    source="Multinomial distribution",
    looks="Lets the model say 0.4, 0.3, 0.2, 0.1 and counts what is drawn at temperature 1 without filters.",
    tolerance="Chi-squared of 40: chance gives more once in 10^8.",
    symptoms="Text is duller or wilder than the model; two samplers of one model differ.",
    causes="Softmax taken twice; probabilities given where logits are expected; a filter that is always on.",
    needs=NEEDS,
)
def as_often(subject: Subject) -> Evidence:
    """`Categorical(logits=probs)` takes 0.4 and 0.1 for logits: they come as 0.29 and 0.21."""
    writer = writer_of(subject)
    if not set(writer.names) & {"temperature", "top_k", "top_p", "seed", "sample"}:
        counts = drawn(writer)
        if len(counts) == 1:
            return none_of(0)  # it takes the likeliest always, and does not claim otherwise
    return frequencies(writer, list(SHARES))


@law(
    "inference/temperature",
    statement="At temperature T tokens are drawn with probabilities in proportion to p^(1/T).",
    source="Ackley, Hinton & Sejnowski 1985; softmax(logits / T)",
    looks="Draws at temperature 1/4 from 0.4, 0.3, 0.2, 0.1.",
    tolerance="Chi-squared of 40: chance gives more once in 10^8.",
    symptoms="A low temperature makes text wilder, or nothing at all changes.",
    causes="Logits times T; probabilities divided by T; the argument is not passed on.",
    needs=NEEDS,
)
def temperature(subject: Subject) -> Evidence:
    """p^4 of 0.4, 0.3, 0.2, 0.1 is as 256 : 81 : 16 : 1. Multiplying instead gives p^(1/4), nearly equal shares."""
    writer = writer_of(subject)
    writer.asked("temperature")
    return frequencies(writer, [p**4 for p in SHARES], temperature=0.25)


@law(
    "inference/zero-temperature",
    statement="Temperature 0 takes the likeliest token, or is refused.",
    source="T19 of the catalogue of defects",
    looks="Draws at temperature 0.",
    tolerance="0 other tokens.",
    symptoms="Division by zero; or greedy text that differs from run to run.",
    causes="`if temperature:` that falls through to sampling; logits / 0 is inf or NaN, and the first token comes.",
    needs=NEEDS,
)
def zero_temperature(subject: Subject) -> Evidence:
    """logits / 0 is ±inf, their softmax NaN. Take the argmax, as the limit says, or raise."""
    return _likeliest_or_refused(subject, "temperature", 0.0)


@law(
    "inference/tiny-temperature",
    statement="A temperature near 0 takes the likeliest token.",
    source="lim T→0 of softmax(logits / T)",
    looks="Draws at temperature 1e-4.",
    tolerance="0 other tokens, and no error: (log 0.4 - log 0.3) / 1e-4 is 2877, the others' chance e^-2877.",
    symptoms="NaN or an error at low temperatures.",
    causes="exp without subtracting the largest; half precision; a floor under the temperature.",
    needs=NEEDS,
)
def tiny_temperature(subject: Subject) -> Evidence:
    """exp(9000) overflows; exp(9000 - 9000) does not. torch.softmax subtracts the largest, exp() / sum() does not."""
    writer = writer_of(subject)
    writer.asked("temperature")
    return faults([only(writer, 1, "temperature 1e-4", temperature=1e-4)])


def _likeliest_or_refused(subject: Subject, option: str, *values: float) -> Evidence:
    writer = writer_of(subject)
    writer.asked(option)
    return faults(_as_likeliest(writer, option, value) for value in values)


def _as_likeliest(writer: Writer, option: str, value: Any) -> str:
    try:
        return only(writer, 1, f"{option} {value}", **{option: value})
    except Exception:  # noqa: BLE001 - a refusal, in whatever words, is what may be done instead
        return ""


@law(
    "inference/bad-temperature",
    statement="A temperature below 0 or NaN is refused, or taken as 0.",
    source="T19 of the catalogue of defects",
    looks="Draws at temperature -1 and NaN.",
    tolerance="0 tokens other than the likeliest.",
    symptoms="Gibberish from a typing error: the least likely tokens are the likeliest.",
    causes="No check of the argument.",
    needs=NEEDS,
)
def bad_temperature(subject: Subject) -> Evidence:
    """At temperature -1 the logits change sign: of 0.4, …, 0.1 and 50,000 tokens of share 0, those are drawn."""
    return _likeliest_or_refused(subject, "temperature", -1.0, math.nan)


@law(
    "inference/top-k-one",
    statement="top_k=1 takes the likeliest token.",
    source="Fan et al. 2018, arXiv:1805.04833, §5",
    looks="Draws with top_k=1.",
    tolerance="0 other tokens.",
    symptoms="Text is random although top_k=1.",
    causes="An index that is off by one; the filter is made and not used.",
    needs=NEEDS,
)
def top_k_one(subject: Subject) -> Evidence:
    """`logits < topk(logits, k + 1).values[..., -1]` leaves two."""
    writer = writer_of(subject)
    writer.asked("top_k")
    return faults([only(writer, 1, "top_k=1", top_k=1)])


@law(
    "inference/top-k",
    statement="top_k leaves the k likeliest tokens, all of them and no other.",
    source="Fan et al. 2018, arXiv:1805.04833, §5",
    looks="Draws with top_k=2 and 3 from 0.4, 0.3, 0.2, 0.1, and compares which tokens come.",
    tolerance="0 others; a token of share 0.2 stays away from 96 draws once in 10^9.",
    symptoms="Rare tokens come although they are filtered; or text is too dull.",
    causes="An index off by one; the smallest are kept; the filter is made and not used.",
    needs=NEEDS,
)
def top_k(subject: Subject) -> Evidence:
    """`logits[logits < topk(logits, k).values[..., -1:]] = -inf` keeps k. With `<=` it keeps k - 1."""
    writer = writer_of(subject)
    writer.asked("top_k")
    return faults(only(writer, k, f"top_k={k}", top_k=k) for k in (2, 3))


@law(
    "inference/top-p",
    statement="top_p leaves the fewest likeliest tokens that hold p: the one that crosses p belongs to them.",
    source="Holtzman et al. 2020, arXiv:1904.09751, §3.1, equation 2; T7 of the catalogue, refuted",
    looks="Draws with top_p=0.6, 0.75 and 0.05 from 0.4, 0.3, 0.2, 0.1, and compares which tokens come.",
    tolerance="0 others; a token of share 0.2 stays away from 96 draws once in 10^9.",
    symptoms="Text is duller than asked, or greedy; a small p leaves nothing.",
    causes="The mask of cumulated > p without the shift to the right; a sum that is not sorted.",
    needs=NEEDS,
)
def top_p(subject: Subject) -> Evidence:
    """For p = 0.6 of 0.4, 0.3, …: 0.4 is not enough, 0.4 + 0.3 is. The set is two tokens.

    `remove = cumulated > p` removes the second; shifting the mask to the right by one keeps it, and is right.
    """
    writer = writer_of(subject)
    writer.asked("top_p")
    sizes = {0.6: 2, 0.75: 3, 0.05: 1}
    return faults(only(writer, size, f"top_p={p}", top_p=p) for p, size in sizes.items())


@law(
    "inference/min-p",
    statement="min_p leaves the tokens at least p times as likely as the likeliest.",
    source="Nguyen et al. 2024, arXiv:2407.01082, §3",
    looks="Draws with min_p=0.6 and 0.3 from 0.4, 0.3, 0.2, 0.1.",
    tolerance="0 others.",
    symptoms="Text hardly changes with min_p, or too much.",
    causes="p itself as the bound, without the likeliest's probability.",
    needs=NEEDS,
)
def min_p(subject: Subject) -> Evidence:
    """0.6 of 0.4 is 0.24: the tokens of 0.4 and 0.3 stay. 0.6 alone as the bound would leave none."""
    writer = writer_of(subject)
    writer.asked("min_p")
    return faults(only(writer, n, f"min_p={p}", min_p=p) for p, n in ((0.6, 2), (0.3, 3)))


@law(
    "inference/filters-keep-proportions",
    statement="Among the tokens that a filter leaves, probabilities keep their proportions.",
    source="Holtzman et al. 2020, arXiv:1904.09751, equation 3",
    looks="Draws with top_k=3, or top_p=0.75, and compares how often 0.4, 0.3 and 0.2 come.",
    tolerance="Chi-squared of 40: chance gives more once in 10^8.",
    symptoms="With a filter, text changes even where the filter removes nothing of weight.",
    causes="Filtered logits set to 0 instead of -inf; softmax of probabilities.",
    needs=NEEDS,
)
def filters_keep_proportions(subject: Subject) -> Evidence:
    """A logit set to 0 is not gone: beside logits of -1 and -2 it is the likeliest."""
    writer = writer_of(subject)
    option = next((name for name in ("top_k", "top_p") if name in writer.names), "top_k")
    writer.asked(option)
    return frequencies(writer, [0.4, 0.3, 0.2, 1e-9], **{option: {"top_k": 3, "top_p": 0.75}[option]})
