"""The foreign models are sound: whatever the doctor says against them is a false alarm.

Each test states a law in the plainest way, with no part of ours.
"""

import copy
import itertools
import math

import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import trueformer

# Two orders of summation in float32 differ by a few units in the last place of logits around 1.
ROUNDING = 2e-5


def all_logits(model, ids):
    """Logits of every position: the GPT gives them only beside targets."""
    return model(ids, ids)[0] if hasattr(model, "wpe") else model(ids)


def batches(parts, count):
    return list(itertools.islice(iter(parts["loader"]), count))


def tensors(batch):
    """The inputs and the targets of a batch, whichever form it has."""
    return tuple(batch.values()) if isinstance(batch, dict) else batch


def random_ids(parts, rows=2, length=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, parts["vocab_size"], (rows, length), generator=generator)


@pytest.fixture
def model(subject):
    return subject.build().eval()


@pytest.fixture
def parts(subject, model):
    return subject.parts(model)


@pytest.fixture
def trained(subject):
    """A model after 30 updates, so that no weight is where initialisation put it."""
    model = subject.build()
    parts = subject.parts(model)
    for i, batch in enumerate(itertools.islice(itertools.chain(parts["loader"], parts["loader"]), 30)):
        step(subject, parts, model, [batch], i)
    return model.eval(), parts


def step(subject, parts, model, micro_batches, number=0):
    """One update, the schedule included: an object in one style, a function of the step in the other."""
    scheduled = {"step": number} if callable(parts["schedule"]) else {"scheduler": parts["schedule"]}
    return subject.train_step(model, micro_batches, parts["optimizer"], **scheduled)


@torch.no_grad()
def test_a_later_token_moves_no_earlier_logit(model, parts):
    ids = random_ids(parts)
    before = all_logits(model, ids)
    for at in (1, 12, 23):
        changed = ids.clone()
        changed[:, at] = (changed[:, at] + 1) % parts["vocab_size"]
        after = all_logits(model, changed)
        assert torch.equal(before[:, :at], after[:, :at])
        assert (before[:, at:] != after[:, at:]).any(-1).all()


@torch.no_grad()
def test_rows_of_a_batch_are_independent(model, parts):
    ids = random_ids(parts, rows=5)
    alone = torch.cat([all_logits(model, row[None]) for row in ids])
    assert torch.allclose(all_logits(model, ids), alone, atol=ROUNDING)


@torch.no_grad()
def test_position_matters(model, parts):
    """One token with another before it; the two exchanged give other logits for the third."""
    a, b = torch.tensor([[5, 9, 7]]), torch.tensor([[9, 5, 7]])
    assert (all_logits(model, a)[0, -1] - all_logits(model, b)[0, -1]).abs().max() > 1e-4


def test_no_length_outside_the_limits_is_accepted(model, parts):
    with pytest.raises(ValueError, match="expected 1 to"):
        model(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="expected 1 to"):
        model(torch.zeros(1, parts["max_len"] + 1, dtype=torch.long))
    assert all_logits(model, torch.zeros(1, parts["max_len"], dtype=torch.long)).isfinite().all()


def test_the_loss_starts_at_chance_and_is_the_reference(subject, model, parts):
    batch = batches(parts, 1)[0]
    ids, targets = tensors(batch)
    measured = parts["loss"](model, batch)
    logits = all_logits(model, ids.long())
    counted = targets >= 0
    wanted = F.cross_entropy(logits[counted].double(), targets[counted])
    assert measured.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert measured.item() == pytest.approx(math.log(parts["vocab_size"]), abs=0.15)


def test_padding_is_neither_learned_nor_seen(subject, model, parts):
    padded = next(b for b in parts["val_loader"] if (tensors(b)[1] < 0).any())
    targets = tensors(padded)[1]
    assert (tensors(padded)[0][targets < 0] == parts["tokenizer"].pad_id).all()
    other = copy.deepcopy(padded)
    tensors(other)[0][targets < 0] = 9
    assert torch.equal(parts["loss"](model, padded), parts["loss"](model, other))


def test_targets_are_the_inputs_one_later(parts):
    for loader in (parts["loader"], parts["val_loader"]):
        for batch in loader:
            ids, targets = tensors(batch)
            counted = targets[:, :-1] >= 0
            both = counted & (targets[:, 1:] >= 0)
            assert torch.equal(targets[:, :-1][both], ids[:, 1:][both].long())
            assert ids.min() >= 0
            assert ids.max() < parts["vocab_size"]
            assert targets.max() < parts["vocab_size"]
            assert targets.dtype == torch.int64


def test_every_document_begins_with_bos_and_ends_with_eos(subject, parts):
    tokenizer = parts["tokenizer"]
    inputs = torch.cat([tensors(batch)[0].flatten() for batch in parts["val_loader"]])
    targets = torch.cat([tensors(batch)[1].flatten() for batch in parts["val_loader"]])
    assert inputs[0] == tokenizer.bos_id
    after_end = inputs[:-1] == tokenizer.eos_id
    assert (inputs == tokenizer.bos_id).sum() == (targets == tokenizer.eos_id).sum() >= 10
    assert (inputs[1:][after_end] == tokenizer.bos_id).all()


def test_train_and_validation_share_no_row(parts):
    def rows(loader):
        return {tuple(row.tolist()) for batch in loader for row in tensors(batch)[0]}

    train, val = rows(parts["loader"]), rows(parts["val_loader"])
    assert train
    assert val
    assert not train & val


def test_the_doctor_knows_every_part(parts, model):
    """The names are those `trueformer.check` takes."""
    report = trueformer.check(model, only=["attention/causal"], **parts)
    assert [result.verdict for result in report.results] == ["holds"]


def test_an_epoch_has_every_row_once_in_another_order_each_time(parts):
    def epoch(loader):
        return [tuple(row.tolist()) for batch in loader for row in tensors(batch)[0]]

    first, second = epoch(parts["loader"]), epoch(parts["loader"])
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(set(first)) == len(first)
    assert epoch(parts["val_loader"]) == epoch(parts["val_loader"])


def test_accumulating_unequal_micro_batches_gives_the_gradient_of_the_whole(subject):
    """By stepping: an equal gradient is an equal update. Dropout is off, or the masks would differ."""
    results = []
    for split in ((8,), (3, 5), (1, 1, 6)):
        model = subject.build()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        parts = subject.parts(model)
        torch.manual_seed(0)
        whole = next(iter(parts["loader"]))
        rows = [tensor[:6] for tensor in tensors(whole)]
        rows[1] = rows[1].clone()
        rows[1][0, 5:] = -1 if hasattr(model, "wpe") else -100  # unequal numbers of targets
        sizes = [n if i < len(split) - 1 else 6 - sum(split[:-1]) for i, n in enumerate(split)]
        micro = list(zip(*(tensor.split(sizes) for tensor in rows), strict=True))
        if isinstance(whole, dict):
            micro = [dict(zip(whole, pair, strict=True)) for pair in micro]
        # SGD: Adam's first step is the sign of the gradient, which hides its size
        parts["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
        parts["schedule"] = None
        subject.train_step(model, micro, parts["optimizer"])
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert torch.allclose(results[0], results[2], atol=1e-6)


def test_clipping_is_by_the_norm_of_all_gradients(subject, model, parts):
    limit = {"max_norm": 0.01} if callable(parts["schedule"]) else {"grad_clip": 0.01}
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    if callable(parts["schedule"]):
        subject.learning_rate = lambda step: 1.0
    subject.train_step(model, batches(parts, 1), sgd, **limit)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_every_parameter_is_in_one_group_and_moves(subject, parts):
    model = subject.build()
    parts = subject.parts(model)
    grouped = [p for group in parts["optimizer"].param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}
    for group in parts["optimizer"].param_groups:
        assert group["weight_decay"] == 0 or all(p.dim() >= 2 for p in group["params"])
    before = [p.detach().clone() for p in model.parameters()]
    for i, batch in enumerate(batches(parts, 2)):
        step(subject, parts, model, [batch], i)
    assert all((old != new).any() for old, new in zip(before, model.parameters(), strict=True))
    assert model.training


def test_the_optimizer_is_adamw(subject):
    """Ours and theirs beside torch's float64 AdamW, ten steps, within float32's rounding of the weights."""
    model = subject.build()
    ours = subject.make_optimizer(model)
    double = copy.deepcopy(model).double()
    groups = []
    for group in ours.param_groups:
        ids = [id(p) for p in group["params"]]
        places = [i for i, p in enumerate(model.parameters()) if id(p) in ids]
        same = [p for i, p in enumerate(double.parameters()) if i in places]
        groups.append({"params": same, "weight_decay": group["weight_decay"]})
    theirs = torch.optim.AdamW(groups, lr=ours.param_groups[0]["lr"], betas=(0.9, 0.95), eps=1e-8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        for p, q in zip(model.parameters(), double.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.double()
        ours.step()
        theirs.step()
    for p, q in zip(model.parameters(), double.parameters(), strict=True):
        assert torch.allclose(p.double(), q, atol=1e-6)


def test_the_optimizer_loses_no_update_in_bfloat16(subject):
    """Only the style with a master copy claims it; torch's AdamW does round."""
    if subject.__name__ != "llama_like":
        pytest.skip("torch's AdamW is documented to work in the parameter's dtype")
    model = subject.build().bfloat16()
    optimizer = subject.make_optimizer(model, lr=1e-5)
    before = model.output.weight.detach().clone()
    for _ in range(200):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    moved = (before.float() - model.output.weight.float()).mean().item()
    assert moved == pytest.approx(200 * 1e-5, rel=0.02)


def test_the_schedule_peaks_where_it_says_and_ends_low(subject, parts):
    if callable(parts["schedule"]):
        peak, warmup, last, rate = (
            subject.MAX_LR,
            subject.WARMUP_STEPS,
            subject.TOTAL_STEPS,
            parts["schedule"],
        )
    else:
        peak, warmup, last, rate = 1.0, subject.WARMUP, subject.MAX_STEPS, subject.lr_factor
    rates = [rate(i) for i in range(last + 1)]
    assert max(rates) == pytest.approx(peak)
    assert rates[warmup - 1] == pytest.approx(peak)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[-1] == pytest.approx(peak / 10)


def test_dropout_is_off_in_evaluation_and_on_in_training(model, parts):
    ids = random_ids(parts)
    assert torch.equal(all_logits(model, ids), all_logits(model, ids))
    model.train()
    if hasattr(model, "wpe"):
        assert not torch.equal(all_logits(model, ids), all_logits(model, ids))


def test_evaluating_changes_nothing(subject, model, parts):
    model.train()
    first = subject.evaluate(model, parts["val_loader"])
    assert subject.evaluate(model, parts["val_loader"]) == first
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def run_on(subject, parts, model, start, stop):
    losses, number = [], start
    while number < stop:
        for batch in parts["loader"]:
            losses.append(step(subject, parts, model, [batch], number))
            number += 1
    return losses


def extras(subject, parts):
    named = {"scheduler": parts["schedule"]} if not callable(parts["schedule"]) else {}
    return {"loader": parts["loader"], **named}


def test_saved_and_loaded_training_goes_on_as_if_it_never_stopped(subject, tmp_path):
    """At the end of an epoch, with dropout: weights, moments, schedule, shuffling, random state all count."""
    model = subject.build()
    parts = subject.parts(model)
    epoch = len(parts["loader"])
    run_on(subject, parts, model, 0, epoch)
    subject.save(model, parts["optimizer"], tmp_path / "c", step=epoch, **extras(subject, parts))
    going_on = run_on(subject, parts, model, epoch, 2 * epoch)

    torch.manual_seed(99)
    other = subject.build()
    again = subject.parts(other)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1.0)
    started = subject.load(tmp_path / "c", other, again["optimizer"], **extras(subject, again))
    assert started == epoch
    assert run_on(subject, again, other, started, 2 * epoch) == going_on
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_the_loader_goes_on_in_the_middle_of_an_epoch(subject):
    if subject.__name__ != "llama_like":
        pytest.skip("torch's DataLoader keeps no cursor, and this style saves at the end of an epoch")
    first = subject.parts()["loader"]
    running = iter(first)
    for _ in range(5):
        next(running)
    second = subject.parts()["loader"]
    second.load_state_dict(first.state_dict())
    rest, again = list(running), list(second)
    assert len(rest) == len(again) == len(first) - 5
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(rest, again, strict=True))
    after = zip(first, second, strict=True)
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in after)


def test_bfloat16_training_goes_on_too(subject, tmp_path):
    if subject.__name__ != "llama_like":
        pytest.skip("the other style trains in float32")
    model = subject.build().bfloat16()
    parts = subject.parts(model)
    few = batches(parts, 4)
    for i, batch in enumerate(few):
        step(subject, parts, model, [batch], i)
    subject.save(model, parts["optimizer"], tmp_path / "c")
    other = subject.build().bfloat16()
    again = subject.parts(other)
    subject.load(tmp_path / "c", other, again["optimizer"])
    assert step(subject, parts, model, few, 4) == step(subject, again, other, few, 4)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_a_file_of_another_shape_is_refused_and_nothing_unfinished_is_left(subject, model, parts, tmp_path):
    subject.save(model, parts["optimizer"], tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    sizes = subject.ModelArgs(n_layers=2) if hasattr(subject, "ModelArgs") else subject.GPTConfig(n_layer=2)
    other = (subject.Transformer if hasattr(subject, "Transformer") else subject.TinyGPT)(sizes)
    with pytest.raises(ValueError, match="c "):
        subject.load(tmp_path / "c", other)
    assert subject.load_tokenizer(tmp_path / "c").decode(parts["tokenizer"].encode("Ab 9")) == "Ab 9"


def test_greedy_writing_is_the_argmax_of_a_whole_forward_pass(subject, trained):
    """With the cache in one style, without one in the other."""
    model, parts = trained
    ids = random_ids(parts, rows=3, length=9)
    written = parts["generate"](model, ids, 30, temperature=0)
    assert torch.equal(written[:, :9], ids)
    with torch.no_grad():
        best = all_logits(model, written).argmax(-1)
    assert torch.equal(best[:, 8:-1], written[:, 9:])


def test_rows_of_unequal_length_are_written_as_they_are_alone(trained):
    model, parts = trained
    prompts = [[1, 9, 8], [1], [1, 50, 60, 70, 5, 6, 7]]
    together = parts["generate"](model, prompts, 12, temperature=0)
    assert together == [parts["generate"](model, [p], 12, temperature=0)[0] for p in prompts]
    assert [len(row) for row in together] == [15, 13, 19]


def test_a_seed_repeats_and_another_differs(trained):
    model, parts = trained
    ids = random_ids(parts)
    write = lambda seed: parts["generate"](model, ids, 20, temperature=1.0, seed=seed)  # noqa: E731
    assert torch.equal(write(1), write(1))
    assert not torch.equal(write(1), write(2))


def draws(subject, logits, temperature=1.0, top_k=None, top_p=None, count=4000):
    """How often each token comes, of `count` draws."""
    generator = torch.Generator().manual_seed(0)
    rows = logits.expand(count, -1)
    choose = subject.choose if hasattr(subject, "choose") else subject.sample
    chosen = choose(rows, temperature, top_k, top_p, generator).flatten()
    return torch.bincount(chosen, minlength=logits.numel()) / count


def test_the_filters_are_exact_on_a_known_distribution(subject):
    """p = 0.4, 0.3, 0.2, 0.1. The token that crosses the mass belongs to the nucleus."""
    p = torch.tensor([0.2, 0.4, 0.1, 0.3])
    logits = p.log()[None]
    near = {"atol": 0.03}  # 4000 draws: three standard deviations are 0.024
    assert torch.allclose(draws(subject, logits), p, **near)
    sharp = p**2 / (p**2).sum()
    assert torch.allclose(draws(subject, logits, temperature=0.5), sharp, **near)
    two = torch.tensor([0, 4 / 7, 0, 3 / 7])
    assert torch.allclose(draws(subject, logits, top_k=2), two, **near)
    assert torch.allclose(draws(subject, logits, top_p=0.6), two, **near)
    assert torch.allclose(draws(subject, logits, top_p=0.75), torch.tensor([2, 4, 0, 3]) / 9, **near)
    assert torch.equal(draws(subject, logits, top_p=0.01), torch.tensor([0.0, 1.0, 0.0, 0.0]))
    assert torch.equal(draws(subject, logits, top_k=1), torch.tensor([0.0, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 1.5}]
)
def test_bad_sampling_is_refused(model, parts, bad):
    with pytest.raises(ValueError, match=r"temperature|top_k|top_p"):
        parts["generate"](model, random_ids(parts), 2, **bad)


def test_what_a_tokenizer_can_spell_comes_back(subject, parts):
    tokenizer = parts["tokenizer"]
    texts = ["", "Ab 9!\n\t", "<s></s><|endoftext|>", "  two  spaces "]
    if subject.__name__ == "llama_like":
        texts += ["Zoë 李 🙂", "\ud800 lone", "\x00\x7f"]
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert not {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id} & set(ids)
        assert tokenizer.encode(text, bos=True, eos=True) == [tokenizer.bos_id, *ids, tokenizer.eos_id]
    assert tokenizer.encode_batch(texts, bos=True) == [tokenizer.encode(t, bos=True) for t in texts]
    assert tokenizer.encode_batch(texts, eos=True) == [tokenizer.encode(t, eos=True) for t in texts]


@torch.no_grad()
def test_precision_changes_logits_by_rounding_only(subject, model, parts):
    ids = random_ids(parts, length=parts["max_len"])
    wide = all_logits(model, ids)
    double = all_logits(copy.deepcopy(model).double(), ids)
    half = all_logits(copy.deepcopy(model).bfloat16(), ids)
    assert torch.allclose(wide.double(), double.double(), atol=ROUNDING)
    scale = wide.std()
    assert (wide - half.float()).abs().max() < 0.1 * scale
    back = copy.deepcopy(model).bfloat16().float()
    assert (wide - all_logits(back, ids)).abs().max() < 0.1 * scale


def test_copies_and_state_keep_the_model(subject, model, parts):
    ids = random_ids(parts)
    wanted = all_logits(model, ids)
    twin = copy.deepcopy(model)
    assert torch.equal(all_logits(twin, ids), wanted)
    assert len(list(twin.parameters())) == len(list(model.parameters()))
    torch.manual_seed(5)
    kind = type(model)
    with torch.device("meta"):
        empty = kind(model.args if hasattr(model, "args") else model.config)
    whole = empty.to_empty(device="cpu").eval()
    whole.load_state_dict(model.state_dict())
    assert torch.equal(all_logits(whole, ids), wanted)
    exported = torch.export.export(model, (ids, ids) if hasattr(model, "wpe") else (ids,)).module()
    given = exported(ids, ids)[0] if hasattr(model, "wpe") else exported(ids)
    assert torch.allclose(given, wanted, atol=ROUNDING)


def test_memory_of_the_cache_is_let_go(subject, model, parts):
    if not hasattr(model, "reset_cache"):
        pytest.skip("this style has no cache")
    state = {k: v.clone() for k, v in model.state_dict().items()}
    parts["generate"](model, random_ids(parts), 5, temperature=0)
    assert all(layer.attention.cache_k is None for layer in model.layers)
    assert model.state_dict().keys() == state.keys()


@torch.no_grad()
def test_the_cache_gives_what_no_cache_gives_in_pieces_of_any_length(subject, model, parts):
    if not hasattr(model, "reset_cache"):
        pytest.skip("this style has no cache")
    ids = random_ids(parts, rows=3, length=40)
    wanted = model(ids)
    for pieces in ([40], [1] * 40, [7, 13, 20], [39, 1]):
        for _ in range(2):  # a second sequence after the first, without a reset
            starts = [sum(pieces[:i]) for i in range(len(pieces))]
            got = [model(ids[:, s : s + n], start_pos=s) for s, n in zip(starts, pieces, strict=True)]
            assert torch.allclose(torch.cat(got, dim=1), wanted, atol=ROUNDING)
    with pytest.raises(ValueError, match="begin them at start_pos=0"):
        model(ids[:1, 5:6], start_pos=5)


@torch.no_grad()
def test_rotary_scores_depend_on_distance_alone(subject, model):
    if not hasattr(subject, "apply_rotary_emb"):
        pytest.skip("this style has learned positions")
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 12, generator=generator)
    table = model.rotary(0, 64)
    turn = lambda x: subject.apply_rotary_emb(x.expand(1, 64, 1, 12), table)[0, :, 0]  # noqa: E731
    scores = turn(q) @ turn(k).T
    for distance in range(1, 20):
        diagonal = scores.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)
    assert scores[:, 0].std() > 0.1
    assert torch.allclose(turn(q).norm(dim=-1), q.norm().expand(64), rtol=1e-5)
    assert torch.angle(table[1, 1]).item() == pytest.approx(10000 ** (-2 / 12), rel=1e-6)


def gpt2_of_transformers(model):
    """The same weights in the other library's model; its matrices lie the other way round."""
    config = GPT2Config(
        vocab_size=101, n_positions=64, n_embd=48, n_layer=3, n_head=4, activation_function="gelu"
    )
    theirs = GPT2LMHeadModel(config)
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    state = {
        f"transformer.{name}": weight.T if name.endswith(turned) else weight
        for name, weight in model.state_dict().items()
        if "visible" not in name and "lm_head" not in name
    }
    theirs.load_state_dict(state | {"lm_head.weight": model.wte.weight})
    return theirs.eval()


def llama_of_transformers(model):
    """The same weights in the other library's model, which pairs channel r with r + 6, not 2r with 2r + 1."""
    names = {
        "tok_embeddings": "model.embed_tokens", "layers": "model.layers", "norm": "model.norm", "output": "lm_head",
        "attention": "self_attn", "feed_forward": "mlp", "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm", "wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj",
        "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj",
    }  # fmt: skip
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
    )
    state = {}
    for name, weight in model.state_dict().items():
        if ".wq." in name or ".wk." in name:
            weight = weight.view(-1, 6, 2, 48).transpose(1, 2).reshape(-1, 48)
        state[".".join(names.get(part, part) for part in name.split("."))] = weight
    theirs = LlamaForCausalLM(config)
    theirs.load_state_dict(state)
    return theirs.eval()


@torch.no_grad()
def test_another_library_gives_the_same_logits(subject, trained):
    """Scales, norms, activations, angles, groups: whatever two authors could understand differently."""
    model, parts = trained
    ids = random_ids(parts, length=parts["max_len"])
    theirs = gpt2_of_transformers(model) if hasattr(model, "wpe") else llama_of_transformers(model)
    wanted = theirs(ids).logits
    # Weights made large, as after long training, so that scores are far from equal.
    assert torch.allclose(all_logits(model, ids), wanted, atol=1e-4)
    for p in model.parameters():
        if p.dim() == 2:
            p.mul_(4)
    theirs = gpt2_of_transformers(model) if hasattr(model, "wpe") else llama_of_transformers(model)
    wanted = theirs(ids).logits
    assert (all_logits(model, ids) - wanted).abs().max() < 1e-4 * wanted.abs().max()


@torch.no_grad()
def test_norms_are_finite_and_exact_on_numbers_of_any_size(subject):
    norm = subject.RMSNorm(48, 1e-5) if hasattr(subject, "RMSNorm") else subject.LayerNorm(48)
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    assert norm(torch.zeros(3, 48)).isfinite().all()
    assert torch.allclose(norm(1e3 * x), norm(1e4 * x), atol=1e-5)
    assert norm(x).square().mean(-1).allclose(torch.ones(3), atol=1e-3)
    assert norm(1e15 * x).isfinite().all()
    half = norm.bfloat16()
    assert half(1e3 * x.bfloat16()).square().float().mean(-1).allclose(torch.ones(3), atol=0.02)
    x = torch.zeros(3, 48, requires_grad=True)
    with torch.enable_grad():
        norm.float()(x).sum().backward()
    assert x.grad.isfinite().all()


def test_every_parameter_gets_a_gradient(subject, model, parts):
    batch = batches(parts, 1)[0]
    step(subject, parts, model, [batch])
    model.zero_grad()
    parts["loss"](model, batch).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
