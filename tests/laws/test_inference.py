"""The laws of inference: silent on sound generation, and caught breaking with bugs planted in two foreign models."""

import pytest
import torch
from torch import nn

from trueformer.doctor.runner import examine
from trueformer.laws.book import select
from trueformer.laws.inference_calls import writer_of
from trueformer.laws.law import Verdict
from trueformer.subject.subject import Claims, Subject

GPT, LLAMA = "gpt2_like.py", "llama_like.py"
PARTS = ("generate", "tokenizer", "vocab_size", "max_len")


def examined(subject, *only):
    laws = select([f"inference/{law}" for law in only] or ["inference"])
    return {result.law.id.split("/")[1]: result for result in examine(subject, laws).results}


def verdict(subject, law):
    result = examined(subject, law)[law]
    if result.verdict is Verdict.BROKEN:
        assert result.evidence.saw, "a broken law says what it saw"
    return str(result.verdict)


def subject_of(module, **more):
    """A module's subject, with its first weights: the laws see to it that what came before shows."""
    model = module.build()
    parts = {name: part for name, part in module.parts(model).items() if name in PARTS}
    return Subject(model=model, **parts | more)


@pytest.fixture(params=[GPT, LLAMA])
def file(request):
    return request.param


def test_no_law_is_broken_by_a_sound_model(planted, file):
    results = examined(subject_of(planted(file)))
    assert [r.line for r in results.values() if r.verdict in (Verdict.BROKEN, Verdict.CRASHED)] == []
    assert sum(r.verdict is Verdict.HOLDS for r in results.values()) >= 20


WITHOUT_TARGETS = "return self.lm_head(x[:, [-1], :]), None"


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("return x[:, [-1], :], None", ""),
        ("return self.lm_head(x[:, [-2], :]), None", "token 0"),
        ("return self.lm_head(x).roll(1, 1), None", "token"),
    ],
)
def test_the_last_position_is_what_it_is_with_targets(planted, wrong, where):
    found = examined(subject_of(planted(GPT, (WITHOUT_TARGETS, wrong))), "last-position")["last-position"]
    assert found.verdict is Verdict.BROKEN
    assert where in found.evidence.where
    assert found.evidence.saw


@pytest.mark.parametrize(
    "right", [WITHOUT_TARGETS, "return self.lm_head(x), None", "return self.lm_head(x[:, -1:]), None"]
)
def test_one_position_or_several_may_be_given_without_targets(planted, right):
    assert verdict(subject_of(planted(GPT, (WITHOUT_TARGETS, right))), "last-position") == "holds"


def test_a_model_that_takes_no_targets_is_not_asked_for_them(planted):
    assert verdict(subject_of(planted(LLAMA)), "last-position") == "not applicable"


GPT_BUGS = [
    (
        "greedy",
        "last = torch.tensor([len(row) - 1 for row in seen])",
        "last = torch.tensor([max(0, len(row) - 2) for row in seen])",
    ),
    (
        "batched",
        "for row, token in zip(prompts, chosen[:, 0].tolist(), strict=True)",
        "for row, token in zip(prompts, [int(chosen[0, 0])] * len(prompts), strict=True)",
    ),
    (
        "unequal-rows",
        "last = torch.tensor([len(row) - 1 for row in seen])",
        "last = torch.tensor([longest - 1 for row in seen])",
    ),
    (
        "prompt-stays",
        "return torch.tensor(prompts) if",
        "prompts = [row[1:] for row in prompts]\n    return torch.tensor(prompts) if",
    ),
    (
        "frequencies",
        "torch.multinomial(F.softmax(logits, dim=-1)",
        "torch.multinomial(F.softmax(F.softmax(logits, dim=-1), dim=-1)",
    ),
    ("temperature", "logits = logits / temperature", "logits = logits * temperature"),
    ("top-k-one", "logits < worst_kept", "logits < worst_kept - 0.5"),
    ("top-k", "logits < worst_kept", "logits <= worst_kept"),
    ("top-p", "remove[:, 1:] = remove[:, :-1].clone()\n", "pass\n"),
    (
        "filters-keep-proportions",
        'masked_fill(logits < worst_kept, float("-inf"))',
        "masked_fill(logits < worst_kept, 0.0)",
    ),
    ("seed-repeats", "num_samples=1, generator=generator)", "num_samples=1)"),
    ("seeds-differ", "torch.Generator().manual_seed(seed)", "torch.Generator().manual_seed(42)"),
    ("as-many-as-asked", "for _ in range(max_new_tokens)", "for _ in range(max_new_tokens + 1)"),
    ("dropout-off", "    model.eval()\n    try:", "    try:"),
    ("leaves-alone", "model.train(was_training)", "model.eval()"),
    ("no-gradients", "        with torch.no_grad():\n            yield", "        yield"),
    (
        "no-growth",
        "            logits = last_logits(model, prompts)\n",
        "            kept.append(last_logits(model, prompts))\n            logits = kept[-1]\n",
    ),
]


@pytest.mark.parametrize(("law", "old", "new"), GPT_BUGS, ids=[bug[0] for bug in GPT_BUGS])
def test_a_bug_planted_in_the_gpt_breaks_the_law(planted, law, old, new):
    edits = [(old, new)]
    if "kept.append" in new:
        edits.append(("IGNORE = -1\n", "IGNORE = -1\nkept = []\n"))
    assert verdict(subject_of(planted(GPT, *edits)), law) in ("broken", "advice")
    assert verdict(subject_of(planted(GPT)), law) == "holds"


LLAMA_BUGS = [
    ("cache-by-token", "freqs_cis = self.rotary(start, seqlen)", "freqs_cis = self.rotary(0, seqlen)"),
    ("cache-by-pieces", ".tril(total - seqlen)", ".tril()"),
    ("greedy", "freqs_cis = self.rotary(start, seqlen)", "freqs_cis = self.rotary(0, seqlen)"),
    (
        "forgets",
        "if start_pos == 0 and (self.cache_k is None or len(self.cache_k) != bsz):",
        "if self.cache_k is None:",
    ),
    ("top-p", "torch.where(before > p, 0.0, ordered)", "torch.where(before + ordered > p, 0.0, ordered)"),
    ("stops", "if stop_id in row[prompt_length:]:", "if stop_id in row[prompt_length + 1 :]:"),
    (
        "temperature",
        "torch.softmax(logits / temperature, dim=-1)",
        "torch.softmax(logits, dim=-1) / temperature",
    ),
]


@pytest.mark.parametrize(("law", "old", "new"), LLAMA_BUGS, ids=[bug[0] for bug in LLAMA_BUGS])
def test_a_bug_planted_in_the_llama_breaks_the_law(planted, law, old, new):
    edits = [(old, new)]
    if law == "forgets":  # a cache that is never begun anew, nor freed, and longer than what was written
        edits += [
            ("layer.attention.cache_k = layer.attention.cache_v = None", "pass"),
            (
                "return self.cache_k[:, : start_pos + seqlen], self.cache_v[:, : start_pos + seqlen]",
                "self.end = max(getattr(self, 'end', 0), start_pos + seqlen)\n"
                "        return self.cache_k[:, : self.end], self.cache_v[:, : self.end]",
            ),
        ]
    found = verdict(subject_of(planted(LLAMA, *edits)), law)
    assert found in ("broken", "crashed") if law == "forgets" else found == "broken"
    assert verdict(subject_of(planted(LLAMA)), law) == "holds"


# ---------------------------------------------------------------- a small generate with every option


def filtered(logits, temperature, top_k, top_p, min_p):
    logits = logits / temperature
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        logits = logits.masked_fill(
            torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p), -torch.inf
        )
    return logits.masked_fill(
        logits.softmax(-1) < min_p * logits.softmax(-1).amax(-1, keepdim=True), -torch.inf
    )


def sampler(
    check=True, greedy_at_zero=True, bound=None, penalise=None, choose=filtered, bos=None, modulo=False
):
    """A generate whose parts can be made wrong one at a time."""

    @torch.no_grad()
    def generate(
        model,
        idx,
        max_new_tokens,
        temperature=1.0,
        top_k=None,
        top_p=1.0,
        min_p=0.0,
        repetition_penalty=1.0,
        eos_id=None,
    ):
        if check and not temperature >= 0:
            raise ValueError(f"temperature is {temperature}")
        was = model.training
        model.eval()
        if idx.shape[1] == 0:
            if bos is None:
                raise ValueError("the prompt is empty")
            idx = torch.full((len(idx), 1), bos)
        for _ in range(max_new_tokens):
            logits = model(idx[:, -64:])[:, -1]
            if repetition_penalty != 1:
                logits = (penalise or penalised)(logits, idx, repetition_penalty)
            if temperature == 0 and greedy_at_zero:
                new = logits.argmax(-1, keepdim=True)
            else:
                shares = choose(logits, temperature, top_k, top_p, min_p).softmax(-1)
                new = torch.multinomial(shares.nan_to_num(1.0) if bound else shares, 1)
            idx = torch.cat([idx, new], dim=1)
            if eos_id is not None and bool((new == eos_id).all()):
                break
        model.train(was)
        return idx

    return generate


def penalised(logits, idx, penalty):
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, idx, True)
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def small(planted, generate, **more):
    module = planted(LLAMA)
    return subject_of(module, **{"generate": generate, "tokenizer": None} | more)


def test_no_law_is_broken_by_a_sampler_with_every_option(planted):
    results = examined(small(planted, sampler()))
    assert [r.line for r in results.values() if r.verdict in (Verdict.BROKEN, Verdict.CRASHED)] == []
    held = {name for name, r in results.items() if r.verdict is Verdict.HOLDS}
    assert {"min-p", "repetition-penalty", "stops", "seed-repeats", "empty-prompt", "context-end"} <= held


def test_t19_temperatures_that_are_not_checked(planted):
    assert verdict(small(planted, sampler(check=False)), "bad-temperature") == "broken"
    taken_as_zero = sampler(check=False, choose=lambda x, t, *rest: filtered(x, max(t, 1e-4), *rest))
    assert verdict(small(planted, taken_as_zero), "bad-temperature") == "holds"
    anything = sampler(greedy_at_zero=False, bound=True)
    assert verdict(small(planted, anything), "zero-temperature") == "broken"


def test_a_floor_under_the_temperature(planted):
    floored = sampler(choose=lambda x, t, *rest: filtered(x, max(t, 0.5), *rest))
    assert verdict(small(planted, floored), "tiny-temperature") == "broken"


def test_min_p_without_the_likeliest(planted):
    def absolute(x, t, k, p, min_p):
        return x.masked_fill((x.softmax(-1) < min_p) & (x < x.amax(-1, keepdim=True)), -torch.inf)

    assert verdict(small(planted, sampler(choose=absolute)), "min-p") == "broken"


def test_a_penalty_that_rewards(planted):
    def divided(logits, idx, penalty):
        return logits.scatter(-1, idx, logits.gather(-1, idx) / penalty)

    assert verdict(small(planted, sampler(penalise=divided)), "repetition-penalty") == "broken"


def test_t7_the_idiom_that_shifts_the_nucleus_is_right(planted):
    """The reported fix of it is what breaks the law: see the bug planted in the GPT, which has the idiom."""
    assert verdict(subject_of(planted(GPT)), "top-p") == "holds"


def test_an_empty_prompt(planted):
    assert verdict(small(planted, sampler(bos=256), claims=Claims(bos_id=256)), "empty-prompt") == "holds"
    assert verdict(small(planted, sampler(bos=0), claims=Claims(bos_id=256)), "empty-prompt") == "broken"
    assert verdict(small(planted, sampler(bos=0)), "empty-prompt") == "not applicable"


def test_t16_positions_that_wrap(planted):
    """Instead of sliding, the text goes on at the beginning of the table."""
    wrapping = planted(
        GPT,
        (
            "positions = torch.arange(T, device=idx.device)",
            "positions = torch.arange(T, device=idx.device) % 64",
        ),
        ("if not 1 <= T <= self.config.block_size:", "if T < 1:"),
        ("self.visible[:, :, :T, :T]", "torch.ones(T, T, dtype=torch.bool).tril()"),
        ("row[-model.config.block_size :]", "row[-model.config.block_size - 8 :]"),
    )
    found = examined(subject_of(wrapping), "context-end")["context-end"]
    assert found.verdict is Verdict.BROKEN


def test_t16_a_context_that_keeps_its_beginning(planted):
    keeping = planted(GPT, ("row[-model.config.block_size :]", "row[: model.config.block_size]"))
    assert verdict(subject_of(keeping), "context-end") == "broken"
    assert verdict(subject_of(planted(GPT)), "context-end") == "holds"
    assert verdict(subject_of(planted(LLAMA)), "context-end") == "holds"


def test_what_gives_text_is_not_judged(planted):
    results = examined(small(planted, lambda model, ids, max_new_tokens: "some text"))
    laws = {name: r for name, r in results.items() if "generate" in r.law.needs}
    assert {str(r.verdict) for r in laws.values()} == {"not applicable"}


class Mixing(nn.Module):
    """The mean of all tokens so far; sound but for what it is told to do wrong."""

    def __init__(self, wrong=""):
        super().__init__()
        self.embed, self.wrong = nn.Embedding(50, 16), wrong
        self.head = nn.Linear(16, 50)

    def forward(self, ids, attention_mask=None):
        mask = torch.ones_like(ids) if attention_mask is None or self.wrong == "mask" else attention_mask
        x = (self.embed(ids) * mask[..., None]).cumsum(1) / mask.cumsum(1).clamp(min=1)[..., None]
        if self.wrong == "later":
            x = x.mean(1, keepdim=True).expand(x.shape)
        return self.head(x - x.mean(0) if self.wrong == "rows" else x)


def test_rows_that_depend_on_one_another():
    assert verdict(Subject(model=Mixing("rows"), vocab_size=50), "rows") == "broken"
    assert verdict(Subject(model=Mixing(), vocab_size=50), "rows") == "holds"


def test_a_padding_mask_that_is_ignored():
    assert verdict(Subject(model=Mixing("mask"), vocab_size=50), "left-padding") == "broken"
    assert verdict(Subject(model=Mixing(), vocab_size=50), "left-padding") == "holds"
    both_ways = Claims(causal=False)
    assert (
        verdict(Subject(model=Mixing("later"), vocab_size=50, claims=both_ways), "right-padding") == "broken"
    )
    assert verdict(Subject(model=Mixing(), vocab_size=50), "right-padding") == "holds"


class Counting(nn.Module):
    """The mean of all tokens so far, in pieces where a cache comes along; sound but for what it is told to do wrong."""

    class Cache:
        def __init__(self, width, wrong):
            self.width, self.wrong = width, wrong
            self.total, self.count = torch.zeros(1, 1, width), 0

        def reset(self):
            if self.wrong != "stays":
                self.total = torch.zeros(1, 1, self.width)
            self.count = 0

    def __init__(self, wrong=""):
        super().__init__()
        self.embed, self.wrong = nn.Embedding(50, 16), wrong
        self.head = nn.Linear(16, 50)

    def forward(self, ids, memory=None):
        sums = self.embed(ids).cumsum(1)
        counts = torch.arange(1, ids.shape[1] + 1, dtype=sums.dtype)
        if memory is not None:
            sums = sums if self.wrong == "forgets" else sums + memory.total
            counts = counts + memory.count
            memory.total = sums[:, -1:]
            memory.count += 1 if self.wrong == "counts passes" else ids.shape[1]
        return self.head(sums / counts[:, None])


def with_cache(wrong):
    def cache(model, n_rows, length):
        return {"memory": Counting.Cache(16, wrong)}

    return Subject(model=Counting(wrong), cache=cache)


def test_a_cache_of_the_owners_own():
    for law in ("cache-by-token", "cache-by-pieces", "cache-reset"):
        assert verdict(with_cache(""), law) == "holds"
    assert verdict(with_cache("forgets"), "cache-by-token") == "broken"
    assert verdict(with_cache("counts passes"), "cache-by-token") == "holds"
    assert verdict(with_cache("counts passes"), "cache-by-pieces") == "broken"
    assert verdict(Subject(model=Counting()), "cache-by-token") == "not applicable"


def test_n11_a_cache_that_is_reset_in_part():
    assert verdict(with_cache("stays"), "cache-reset") == "broken"
    assert verdict(with_cache("stays"), "cache-by-pieces") == "holds"
    assert verdict(Subject(model=Counting()), "cache-reset") == "not checked"
    for_one_text = Subject(model=Counting(), cache=lambda model: {"memory": OneText()})
    assert verdict(for_one_text, "cache-reset") == "not applicable"


def drawing(of_row):
    """A generate with seeds, one a row; `of_row` says which generator draws for a row."""

    def generate(model, ids, max_new_tokens, seeds=None):
        seeds = list(seeds or range(len(ids)))
        made, rows = {}, [list(map(int, row)) for row in ids]
        for _ in range(max_new_tokens):
            shares = model(torch.tensor(rows))[:, -1].softmax(-1)
            for i, row in enumerate(rows):
                key = of_row(i, seeds)
                generator = made.setdefault(key, torch.Generator().manual_seed(seeds[key]))
                row.append(int(torch.multinomial(shares[i], 1, generator=generator)))
        return rows

    return generate


def test_t20_seeds_of_rows(planted):
    assert verdict(small(planted, drawing(lambda i, seeds: i)), "seeds-of-rows") == "holds"
    assert verdict(small(planted, drawing(lambda i, seeds: 0)), "seeds-of-rows") == "broken"
    assert verdict(small(planted, sampler()), "seeds-of-rows") == "not applicable"


class OneText:
    """A cache that cannot be used again."""

    total, count = torch.zeros(1, 1, 16), 0


def test_n11_a_cache_that_is_not_freed(planted):
    held = planted(LLAMA, ("layer.attention.cache_k = layer.attention.cache_v = None", "pass"))
    assert verdict(subject_of(held), "frees") == "advice"
    assert verdict(subject_of(planted(LLAMA)), "frees") == "holds"
    assert verdict(subject_of(planted(GPT)), "frees") == "holds"


def test_what_came_before_shows_though_first_weights_are_small(planted):
    """With its first weights a tied model goes on alike, whatever came before: no fault of a cache would show."""
    subject = subject_of(planted(GPT))
    writer = writer_of(subject)

    def continuations(model):
        prompts = [[first, 7, 8, 9] for first in range(20, 32)]
        return {tuple(writer.write(model, [prompt], 2, **writer.greedy)[0]) for prompt in prompts}

    assert len(continuations(subject.exact)) == 1
    assert len(continuations(writer.model)) >= 3


def hugging_face():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def theirs(
    model, input_ids, max_new_tokens, temperature=1.0, top_k=50, top_p=1.0, do_sample=False, eos_token_id=None
):
    return model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=max_new_tokens,
        do_sample=do_sample,
        eos_token_id=eos_token_id,
        pad_token_id=0,
        **({"temperature": temperature, "top_k": top_k, "top_p": top_p} if do_sample else {}),
    )


def test_no_law_is_broken_by_transformers_generate():
    results = examined(Subject(model=hugging_face(), generate=theirs))
    assert [r.line for r in results.values() if r.fails] == []
    held = {name for name, r in results.items() if r.verdict is Verdict.HOLDS}
    assert {
        "greedy",
        "top-p",
        "stops",
        "cache-by-token",
        "cache-by-pieces",
        "left-padding",
        "right-padding",
    } <= held


def test_n9_a_cache_whose_positions_begin_anew():
    """Hugging Face's own model, told for each token that it is the first."""
    model = hugging_face()
    forward = model.forward

    def anew(input_ids, past_key_values=None, use_cache=None, **more):
        places = torch.arange(input_ids.shape[1])[None]
        return forward(
            input_ids, past_key_values=past_key_values, use_cache=use_cache, position_ids=places, **more
        )

    model.forward = anew
    subject = Subject(model=model, vocab_size=61)
    assert verdict(subject, "cache-by-token") in ("broken", "not applicable")


def test_nothing_of_the_owner_is_changed(planted):
    subject = subject_of(planted(LLAMA))
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    subject.model.train()
    examined(subject, "greedy", "leaves-alone", "top-p")
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
    assert subject.model.training
