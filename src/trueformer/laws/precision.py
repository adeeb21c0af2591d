"""Precision and devices: dtypes agree, nothing is left behind, copies and repetitions are equal.

Dtypes are in `precision_half.py`, exported and compiled twins in `precision_compiled.py`.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trueformer.laws import precision_compiled as precision_compiled
from trueformer.laws import precision_half as precision_half
from trueformer.laws.block_parts import in_evaluation, short_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import kept, random_numbers_kept
from trueformer.subject.subject import Subject, dtype_of
from trueformer.subject.trace import storage_of


def relative(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((one.double() - other.double()).abs().max() / one.double().abs().max().clamp(min=1e-30))


def plain_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that modules keep as mere attributes, in lists and dictionaries too, with their names."""
    for path, module in model.named_modules():
        own = (module._parameters, module._buffers, module._modules)
        for name, value in vars(module).items():
            if not any(value is registered for registered in own):
                yield from _within(f"{path}.{name}" if path else name, value)


def _within(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor) and value.ndim > 0:
        yield name, value
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            yield from _within(f"{name}[{i}]", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _within(f"{name}[{key!r}]", each)


@law(
    "precision/left-behind",
    statement="Every tensor that a pass reads moves with the module.",
    source="torch.nn.Module.register_buffer",
    looks="Moves a copy to the meta device and notes whether its pass still reads a tensor that stayed behind.",
    tolerance="0 tensors: what is made anew for the device, as caches are, is not read.",
    symptoms="`.to(device)` ends in a device mismatch; `.to(bfloat16)` leaves a table that turns all into float32.",
    causes="`self.cos = torch.cos(…)` in place of `register_buffer('cos', …, persistent=False)`.",
    needs=("logits",),
)
def left_behind(subject: Subject) -> Evidence:
    """A mask, a rotary table or a parameter in a Python list is unknown to the module: `.to`, `state_dict` and the
    optimizer pass it by.
    """
    model = subject.copied().eval()
    plain = [(name, tensor) for name, tensor in plain_tensors(model) if not tensor.is_meta]
    read = _read_when_moved(subject, model) if plain else set()
    behind = [name for name, tensor in plain if storage_of(tensor) in read]
    return Evidence(
        measured=len(behind),
        bound=0,
        unit="tensors",
        where=", ".join(behind[:3]),
        saw="the pass reads a tensor that is neither parameter nor buffer and does not move"
        if behind
        else "",
    )


def _read_when_moved(subject: Subject, model: nn.Module) -> set[int]:
    """The storages that a pass on the meta device reads although they are elsewhere.

    Raises:
        NotApplicable: the pass fails there before it reads any.
    """
    reads: set[int] = set()
    call, ids = subject.interface.call, short_ids(subject).to("meta")
    try:
        model.to("meta")
        with _Reads(reads), random_numbers_kept(), torch.no_grad():
            call(model, ids)
    except Exception as error:
        if not reads:
            said = " ".join(str(error).split())[:80]
            raise NotApplicable(f"the model does not run on the meta device: {said}") from error
    return reads


class _Reads(TorchDispatchMode):
    """Notes the storages of whatever is read that is not on the meta device."""

    def __init__(self, seen: set[int]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        self.seen |= {storage_of(leaf) for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_meta}
        return func(*args, **(kwargs or {}))


@law(
    "precision/registered",
    statement="Every layer that runs belongs to the model.",
    source="torch.nn.Module: children are found as attributes or in a ModuleList",
    looks="Notes each module with parameters that runs in a pass and looks for it among the model's own.",
    tolerance="0 modules.",
    symptoms="Some layers never train, never move to the GPU, and are not saved.",
    causes="`self.layers = [Layer() for …]`: a Python list hides them; a layer made in the forward pass.",
    needs=("logits",),
)
def registered(subject: Subject) -> Evidence:
    """`model.parameters()` does not look into lists. `nn.ModuleList(Layer() for _ in range(n))` registers each."""
    model, ids = in_evaluation(subject), short_ids(subject)
    subject.call(model, ids)  # how it is called is learnt on another copy, before others are watched
    known: set[int] = {id(module) for module in model.modules()}
    strange: list[str] = []

    def note(module: nn.Module, args: Any) -> None:
        if id(module) not in known and any(True for _ in module.parameters()):
            strange.append(type(module).__name__)

    handle = module_hooks.register_module_forward_pre_hook(note)
    try:
        subject.call(model, ids)
    finally:
        handle.remove()
    saw = "a layer ran that the model does not know as its own" if strange else ""
    where = ", ".join(dict.fromkeys(strange))
    return Evidence(measured=len(strange), bound=0, unit="calls", where=where, saw=saw)


@law(
    "precision/copy-equal",
    statement="A deep copy of the model gives its logits.",
    source="copy.deepcopy; averaged weights, references and our own probes are copies",
    looks="Compares the logits of the model and of its copy, both in evaluation mode.",
    tolerance="0: the same numbers in the same operations.",
    symptoms="An averaged (EMA) model or a reference model is another model.",
    causes="State outside of the module; a `__deepcopy__` of its own; ties that the copy loses.",
    needs=("logits",),
)
def copy_equal(subject: Subject) -> Evidence:
    """A `__deepcopy__` that hands on the same tensors makes an averaged model and the trained one the same."""
    ids, other = short_ids(subject), copy.deepcopy(in_evaluation(subject))
    with kept(subject.model):
        model = subject.model.eval()
        own = subject.logits(ids, model)
        same = relative(own, subject.logits(ids, other))
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        later = relative(own, subject.logits(ids, model))
    saw = "the copy's logits differ" if same else "changing the copy changes the model" if later else ""
    return Evidence(measured=max(same, later), bound=0.0, where="deepcopy", saw=saw)


@law(
    "precision/state-complete",
    statement="The state_dict holds all that the logits depend on.",
    source="torch.nn.Module.state_dict",
    looks="Builds the model anew from other random numbers, loads the state_dict strictly, and compares the logits.",
    tolerance="0: the same numbers in the same operations.",
    symptoms="A checkpoint loads without a word and gives other logits.",
    causes="Random tables or weights that are neither parameters nor persistent buffers; layers in a Python list.",
    needs=("logits", "build"),
)
def state_complete(subject: Subject) -> Evidence:
    """A random projection kept as a plain attribute is drawn anew each time the model is built."""
    assert subject.build is not None
    with random_numbers_kept():
        torch.manual_seed(17)
        fresh = subject.build()
    fresh = getattr(fresh, "_orig_mod", fresh).to(dtype_of(subject.model)).eval()
    state = {name: value.clone() for name, value in in_evaluation(subject).state_dict().items()}
    try:
        fresh.load_state_dict(state, strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:160]
        return Evidence(
            measured=float("nan"), bound=0.0, where="load_state_dict", saw=f"it does not load: {said}"
        )
    ids = short_ids(subject)
    off = relative(subject.logits(ids, in_evaluation(subject)), subject.logits(ids, fresh))
    saw = "a new model with this state_dict has other logits" if off else ""
    return Evidence(measured=off, bound=0.0, where="state_dict", saw=saw)


@law(
    "precision/repeatable",
    statement="A pass leaves nothing behind: the same ids give the same logits again.",
    source="A model in evaluation mode is a function",
    looks="Passes a text, then another one of another length and two rows, then the first again, and compares.",
    tolerance="0 on the CPU; 1e-5 of the largest logit on a GPU, where sums may run in another order.",
    symptoms="Results depend on what was asked before; evaluation differs from run to run.",
    causes="A cache that is not reset; running statistics; tables cut to the last length.",
    needs=("logits",),
)
def repeatable(subject: Subject) -> Evidence:
    """A cache that is kept on the module without being asked for lets one conversation read another."""
    model, ids = copy.deepcopy(in_evaluation(subject)), short_ids(subject)
    first = subject.logits(ids, model)
    subject.logits(subject.ids(2, subject.length, seed=3), model)
    off = relative(first, subject.logits(ids, model))
    bound = 1e-5 if first.is_cuda else 0.0
    saw = "the same ids give other logits after another text" if off > bound else ""
    return Evidence(measured=off, bound=bound, where="the second pass", saw=saw)


@law(
    "precision/builds-on-meta",
    statement="The model can be built on the meta device, without memory.",
    source="torch.device('meta') as a context",
    looks="Builds the model under torch.device('meta') and counts parameters and buffers that are elsewhere.",
    tolerance="0 tensors, 0 errors. A model that fits the machine twice can do without.",
    symptoms="Loading a checkpoint needs twice the memory and the time to draw weights that are thrown away.",
    causes="A device named in the constructor; `.item()` or numpy in the initialisation.",
    needs=("logits", "build"),
    advice=True,
)
def builds_on_meta(subject: Subject) -> Evidence:
    """`torch.zeros(n, device='cpu')` in a constructor ignores the context; `torch.zeros(n)` follows it."""
    assert subject.build is not None
    try:
        with random_numbers_kept(), torch.device("meta"):
            built = subject.build()
    except Exception as error:  # noqa: BLE001 - that it cannot be built there is what is measured
        said = " ".join(str(error).split())[:120]
        return Evidence(measured=1, bound=0, unit="errors", where="build", saw=said)
    elsewhere = [name for name, p in built.named_parameters() if not p.is_meta]
    saw = "parameters take memory although the device is meta" if elsewhere else ""
    where = elsewhere[0] if elsewhere else ""
    return Evidence(measured=len(elsewhere), bound=0, unit="parameters", where=where, saw=saw)
