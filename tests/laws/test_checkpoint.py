"""The laws of checkpoints: silent on sound savers of four formats, each caught breaking by a plausible bug."""

import argparse
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from trueformer.doctor.runner import examine
from trueformer.laws.book import select
from trueformer.laws.law import Verdict
from trueformer.subject.subject import Subject

V, D = 61, 16


class Model(nn.Module):
    """Embeddings, a layer, a tied head; nothing of a transformer matters here."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(V, D)
        self.mlp = nn.Linear(D, D)
        self.drop = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.wte.weight
        self.register_buffer("scale", torch.ones(3))

    def forward(self, ids):
        return self.head(self.norm(self.drop(self.mlp(self.wte(ids)))))


class Letters:
    """A tokenizer, so that one can be forgotten."""

    vocab_size = V
    chars = "abc"

    def encode(self, text):
        return [1] * len(text)

    def decode(self, ids):
        return "a" * len(ids)


def state_of(model, optimizer, schedule, step):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict() if schedule else None,
        "rng": torch.get_rng_state(),
        "step": step,
        "chars": Letters.chars,
    }


def put_in_place(path, blob):
    unfinished = Path(f"{path}.tmp")
    unfinished.write_bytes(blob)
    unfinished.replace(path)


def save(model, optimizer, path, schedule=None, step=0):
    blob = io.BytesIO()
    torch.save(state_of(model, optimizer, schedule, step), blob)
    put_in_place(path, blob.getvalue())


def load(path, model, optimizer=None, schedule=None):
    return fill(torch.load(path, weights_only=True), model, optimizer, schedule)


def fill(state, model, optimizer, schedule):
    model.load_state_dict(state["model"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    if schedule is not None:
        schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["rng"])
    return state["step"]


def judged(*only, save=save, load=load, model=None):
    torch.manual_seed(0)
    model = Model() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = LambdaLR(optimizer, lambda step: 1 / (step + 1))
    subject = Subject(
        model=model,
        vocab_size=V,
        optimizer=optimizer,
        schedule=schedule,
        save=save,
        load=load,
        tokenizer=Letters(),
    )
    laws = select([f"checkpoint/{law}" for law in only] or ["checkpoint"])
    return {result.law.id.split("/")[1]: result for result in examine(subject, laws).results}


def verdict(law, **parts):
    result = judged(law, **parts)[law]
    if result.verdict is Verdict.BROKEN:
        assert result.evidence.saw, "a broken law says what it saw"
    return str(result.verdict)


def test_every_law_is_kept_by_a_sound_pair():
    results = judged()
    others = {
        name: (str(r.verdict), r.reason) for name, r in results.items() if r.verdict is not Verdict.HOLDS
    }
    assert others == {}
    assert len(results) >= 20


def save_folder(model, folder):
    """Safetensors and JSON in a folder, renamed into place."""
    folder.mkdir(exist_ok=True)
    tensors = {name: t.clone() for name, t in model.state_dict().items() if name != "head.weight"}
    save_file(tensors, folder / "new.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(Letters.chars))
    (folder / "new.safetensors").replace(folder / "model.safetensors")


def load_folder(model, folder):
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict(tensors | {"head.weight": tensors["wte.weight"]})


def save_numbers(net, out):
    """numpy's own format; bfloat16 goes as float32, which is exact."""
    arrays = {
        n: t.float().numpy() if t.dtype == torch.bfloat16 else t.numpy() for n, t in net.state_dict().items()
    }
    blob = io.BytesIO()
    np.savez(blob, **arrays)
    put_in_place(out, blob.getvalue())


def load_numbers(net, out):
    with np.load(out, allow_pickle=False) as arrays:
        net.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})


def load_new(path):
    model = Model()
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return {"model": model, "step": 7}


@pytest.mark.parametrize(
    "pair",
    [(save_folder, load_folder), (save_numbers, load_numbers), (save, load_new)],
    ids=lambda p: p[0].__name__,
)
def test_no_law_is_broken_by_other_sound_formats(pair):
    results = judged(save=pair[0], load=pair[1]).values()
    assert [r.line for r in results if r.fails] == []
    assert sum(r.verdict is Verdict.HOLDS for r in results) >= 8


def test_what_cannot_be_tried_on_a_copy_is_not_judged():
    for parts in (
        {"save": lambda path: None, "load": lambda path: None},
        {"save": lambda state, path: torch.save(state, path)},
    ):
        results = [r for r in judged(**parts).values() if "save" in r.law.needs]
        assert {str(r.verdict) for r in results} == {"not applicable"}


def saving(change):
    """The sound save, with the state changed before it is written."""

    def saver(model, optimizer, path, schedule=None, step=0):
        blob = io.BytesIO()
        torch.save(change(state_of(model, optimizer, schedule, step)), blob)
        put_in_place(path, blob.getvalue())

    return saver


def test_weights_in_half_precision():
    def half(state):
        return state | {"model": {name: t.half() for name, t in state["model"].items()}}

    assert verdict("weights", save=saving(half)) == "broken"


def test_r11_tied_weights_that_come_apart():
    def assigning(path, model):
        for name, tensor in torch.load(path, weights_only=True)["model"].items():
            if name.endswith(("weight", "bias")):
                owner, _, last = name.rpartition(".")
                setattr(model.get_submodule(owner), last, nn.Parameter(tensor))

    assert verdict("tied", load=assigning) == "broken"
    assert verdict("optimizer-follows", load=assigning) == "broken"
    untied = Model()
    untied.head.weight = nn.Parameter(untied.wte.weight.detach().clone())
    assert verdict("tied", model=untied) == "not applicable"


def test_moments_that_are_not_loaded():
    def forgets(path, model, optimizer=None, schedule=None):
        return load(path, model, None, schedule)

    assert verdict("moments", load=forgets) == "broken"
    assert verdict("goes-on", load=forgets) == "broken"
    assert verdict("weights", load=forgets) == "holds"
    assert verdict("moments", load=load_new) == "not applicable"


def test_moments_that_are_rounded():
    def rounded(state):
        state = json_copy(state)
        for entry in state["optimizer"]["state"].values():
            entry["exp_avg"] = entry["exp_avg"].bfloat16().float()
        return state

    def json_copy(state):
        entries = {i: dict(entry) for i, entry in state["optimizer"]["state"].items()}
        return state | {"optimizer": state["optimizer"] | {"state": entries}}

    assert verdict("moments", save=saving(rounded)) == "broken"


def test_a_schedule_that_begins_anew():
    def forgets(path, model, optimizer=None, schedule=None):
        return load(path, model, optimizer)

    assert verdict("schedule", load=forgets) == "broken"
    assert verdict("goes-on", load=forgets) == "broken"


def test_a_step_that_is_lost():
    def forgets(path, model, optimizer=None, schedule=None):
        load(path, model, optimizer, schedule)
        return 0

    assert verdict("step", load=forgets) == "broken"
    assert verdict("step", load=lambda path, model: {"next_step": 8}) == "holds"


def test_random_numbers_that_are_forgotten():
    def forgets(path, model, optimizer=None, schedule=None):
        with torch.random.fork_rng():
            return load(path, model, optimizer, schedule)

    assert verdict("random-numbers", load=forgets) == "broken"


@pytest.mark.parametrize(
    "does",
    [lambda model: model.half(), lambda model: model.eval(), lambda model: model.requires_grad_(False)],
    ids=["dtype", "mode", "gradients"],
)
def test_a_saver_that_changes_the_model(does):
    def changes(model, optimizer, path):
        save(model, optimizer, path)
        does(model)

    assert verdict("leaves-alone", save=changes) == "broken"


def test_bfloat16_through_float16():
    def through(net, out):
        arrays = {name: t.half().numpy() for name, t in net.state_dict().items()}
        blob = io.BytesIO()
        np.savez(blob, **arrays)
        put_in_place(out, blob.getvalue())

    model = Model()
    with torch.no_grad():
        model.mlp.bias.fill_(1e-12)
    assert verdict("dtype", save=through, load=load_numbers, model=model) == "broken"
    assert verdict("dtype", save=save_numbers, load=load_numbers, model=model) == "holds"


def test_a_file_that_is_kept():
    def keeps(model, optimizer, path):
        if not Path(path).exists():
            save(model, optimizer, path)

    def refuses(model, optimizer, path):
        if Path(path).exists():
            raise FileExistsError(path)
        save(model, optimizer, path)

    assert verdict("overwrites", save=keeps) == "broken"
    assert verdict("overwrites", save=refuses) == "not applicable"


def test_t15_a_tokenizer_left_behind():
    def alone(state):
        return {name: part for name, part in state.items() if name != "chars"}

    assert verdict("tokenizer-travels", save=saving(alone)) == "advice"


def not_strict(path, model):
    model.load_state_dict(torch.load(path, weights_only=True)["model"], strict=False)


def by_shape(path, model):
    own = model.state_dict()
    state = torch.load(path, weights_only=True)["model"]
    model.load_state_dict(
        {n: state[n] if n in state and state[n].shape == t.shape else t for n, t in own.items()}
    )


def test_t10_partial_loads():
    assert verdict("missing-refused", load=not_strict) == "broken"
    assert verdict("unexpected-refused", load=not_strict) == "broken"
    assert verdict("shapes-refused", load=not_strict) == "holds"
    assert verdict("shapes-refused", load=by_shape) == "broken"
    assert verdict("missing-refused", load=load_new) == "not applicable"


class Lenient(Model):
    """Takes what it finds, whatever its caller asked for."""

    def load_state_dict(self, state_dict, strict=True, assign=False):
        return super().load_state_dict(state_dict, False, assign)


def test_t10_a_model_that_is_never_strict():
    found = {
        model: examine(Subject(model=model(), vocab_size=V), select(["checkpoint/state-refused"])).results[0]
        for model in (Model, Lenient)
    }
    assert found[Model].verdict is Verdict.HOLDS
    assert found[Lenient].verdict is Verdict.BROKEN
    assert found[Lenient].evidence.measured == 2


def test_t9_a_damaged_file_taken_for_none():
    def swallows(path, model):
        try:
            return load(path, model)
        except Exception:  # noqa: BLE001 - the bug that is looked for
            return 0

    assert verdict("truncated-refused", load=swallows) == "broken"
    assert verdict("half-loaded", load=swallows) == "not applicable"


def save_bare(model, path):
    put_in_place(path, b"".join(p.detach().numpy().tobytes() for p in model.parameters()))


def load_bare(model, path):
    with open(path, "rb") as file, torch.no_grad():  # noqa: PTH123 - as its author would
        for p in model.parameters():
            p.copy_(torch.frombuffer(bytearray(file.read(p.nbytes)), dtype=p.dtype).view(p.shape))


def test_a_load_that_stops_half_way():
    assert verdict("half-loaded", save=save_bare, load=load_bare) == "broken"
    assert verdict("truncated-refused", save=save_bare, load=load_bare) == "holds"


def save_in_place(model, optimizer, path):
    torch.save(state_of(model, optimizer, None, 0), path)


def save_bytes_in_place(model, optimizer, path):
    blob = io.BytesIO()
    torch.save(state_of(model, optimizer, None, 0), blob)
    Path(path).write_bytes(blob.getvalue())


def save_removing(model, optimizer, path):
    Path(path).unlink(missing_ok=True)
    save(model, optimizer, path)


@pytest.mark.parametrize(
    "saver", [save_in_place, save_bytes_in_place, save_removing], ids=lambda f: f.__name__
)
def test_t8_saving_in_place(saver):
    assert verdict("atomic", save=saver) == "broken"
    assert verdict("failure-told", save=saver) == "holds"


def test_a_full_disk_that_nobody_hears_of():
    def quiet(model, optimizer, path):
        try:
            save(model, optimizer, path)
        except OSError:
            print("could not save")

    assert verdict("failure-told", save=quiet) == "broken"
    assert verdict("atomic", save=quiet) == "holds"


def test_the_limit_on_files_is_lifted_again(tmp_path):
    judged("atomic")
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    assert (tmp_path / "large").stat().st_size == 1 << 20


def test_r3_objects_in_the_file():
    def with_args(state):
        return state | {"args": argparse.Namespace(lr=1)}

    found = judged("only-data", save=saving(with_args))["only-data"]
    assert found.verdict is Verdict.BROKEN
    assert "argparse.Namespace" in found.evidence.saw
    assert verdict("only-data", save=saving(lambda state: state | {"np": np.random.get_state()})) == "holds"


def load_unsafely(path, model):
    fill(torch.load(path, weights_only=False), model, None, None)


def save_pickle(model, path):
    put_in_place(path, pickle.dumps({name: t.tolist() for name, t in model.state_dict().items()}))


def load_pickle(model, path):
    with open(path, "rb") as file:  # noqa: PTH123 - as its author would
        model.load_state_dict({name: torch.tensor(t) for name, t in pickle.load(file).items()})


def test_r3_code_in_the_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert verdict("runs-nothing", load=load_unsafely) == "broken"
    assert verdict("runs-nothing", save=save_pickle, load=load_pickle) == "broken"
    assert verdict("runs-nothing", save=save_folder, load=load_folder) == "not applicable"
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - what was run stayed in the law's own folder


def test_nothing_of_the_owner_is_changed():
    model = Model().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    judged(model=model, save=save_in_place, load=load_unsafely)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.training
