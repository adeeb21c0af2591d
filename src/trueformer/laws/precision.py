"""Precision and devices: dtypes agree, nothing is left behind, copies and repetitions are equal.

Exported and compiled twins are in `precision_compiled.py`. Shapes: B rows, T tokens, V vocabulary.
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
from trueformer.laws.block_parts import blocks, in_evaluation, passages, short_ids
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
    subject.logits(ids, model)  # how it is called is learnt on another copy, before others are watched
    known: set[int] = {id(module) for module in model.modules()}
    strange: list[str] = []

    def note(module: nn.Module, args: Any) -> None:
        if id(module) not in known and any(True for _ in module.parameters()):
            strange.append(type(module).__name__)

    handle = module_hooks.register_module_forward_pre_hook(note)
    try:
        subject.logits(ids, model)
    finally:
        handle.remove()
    saw = "a layer ran that the model does not know as its own" if strange else ""
    where = ", ".join(dict.fromkeys(strange))
    return Evidence(measured=len(strange), bound=0, unit="calls", where=where, saw=saw)


@law(
    "precision/float32-agrees",
    statement="Float32 and float64 give the same logits.",
    source="Higham 2002, Accuracy and Stability of Numerical Algorithms, §3.1",
    looks="Compares a copy in float32 with the same copy in float64, by the median token.",
    tolerance="1e-3 of the largest logit: sound models differ by 1e-6, a few times that in deep ones.",
    symptoms="Results differ between machines; small changes of the code change the loss.",
    causes="Differences of large numbers; an exponential without its maximum taken away; half precision on the way.",
    needs=("logits",),
)
def float32_agrees(subject: Subject) -> Evidence:
    """1e8 + 1 - 1e8 is 0 in float32. A softmax that does not subtract the maximum loses its digits the same way."""
    off, where = _disagreement(subject, torch.float32)
    saw = "rounding to float32 changes the logits" if not off <= 1e-3 else ""
    return Evidence(measured=off, bound=1e-3, where=where, saw=saw)


HALF = (torch.bfloat16, torch.float16)


@law(
    "precision/logits-precise",
    statement="Logits that are computed in float32 are not rounded to half precision.",
    source="Wortsman et al. 2023, arXiv:2309.14322, §3: logits are sensitive",
    looks="Looks whether the head's product is in float32 or wider, and all logits are numbers that bfloat16 holds.",
    tolerance="Half of the logits: by chance one in 65536 is such a number.",
    symptoms="The loss is coarse: likely tokens differ by steps of 2⁻⁸; sampling repeats itself.",
    causes="`logits.bfloat16().float()`, which saves nothing where the product is in float32 already.",
    needs=("logits",),
)
def logits_precise(subject: Subject) -> Evidence:
    """Between 16 and 32 bfloat16 has a number every 1/8: two tokens with logits 20.01 and 20.06 become equally likely."""
    products = [event for event in subject.passed.named("mm", "addmm", "bmm", "baddbmm") if event.tainted]
    if not products or products[-1].value.dtype in HALF:
        raise NotApplicable("the head's product is in half precision itself, or was not seen")
    logits = subject.logits(short_ids(subject))
    logits = logits[logits.abs() > 1e-30]
    rounded = max(float((logits == logits.to(dtype).to(logits.dtype)).double().mean()) for dtype in HALF)
    saw = "all logits are numbers of half precision" if rounded > 0.5 else ""
    return Evidence(measured=rounded, bound=0.5, where="logits", saw=saw)


@law(
    "precision/bfloat16-agrees",
    statement="Bfloat16 gives the logits of float64 up to its rounding.",
    source="Kalamkar et al. 2019, arXiv:1905.12322",
    looks="Compares a copy in bfloat16 with float64 at the same, rounded weights, by the median token.",
    tolerance="0.2 of the spread of the logits: 2⁻⁸ a rounding, and some tens of them on the way, give 0.02.",
    symptoms="Half precision trains much worse than float32.",
    causes="Positions, sums over the text or the softmax in bfloat16; a constant that is too small for it.",
    needs=("logits",),
)
def bfloat16_agrees(subject: Subject) -> Evidence:
    """In bfloat16 257 is 256: positions, counts and running sums need float32, whatever the weights are in."""
    off, where = _disagreement(subject, torch.bfloat16)
    saw = "bfloat16 changes the logits by more than its rounding" if not off <= 0.2 else ""
    return Evidence(measured=off, bound=0.2, where=where, saw=saw)


def _disagreement(subject: Subject, dtype: torch.dtype) -> tuple[float, str]:
    """How far the median token's logits are from float64, as a share of the spread of logits; and of what dtype."""
    widest = dtype_of(subject.exact)
    if widest is dtype:
        raise NotApplicable("the model does not run in float64, so there is nothing to compare with")
    rounded = _in(subject, dtype)[0]
    exact = subject.logits(short_ids(subject), narrow_of(subject, dtype).to(widest))[0].double()
    off = (rounded.double() - exact).square().mean(-1).sqrt().median()
    spread = (exact - exact.mean(-1, keepdim=True)).square().mean().sqrt()
    return float(off / spread.clamp(min=1e-30)), str(dtype).removeprefix("torch.")


def narrow_of(subject: Subject, dtype: torch.dtype) -> nn.Module:
    """A copy in this dtype, in evaluation mode."""
    return copy.deepcopy(in_evaluation(subject)).to(dtype)


def _in(subject: Subject, dtype: torch.dtype) -> Tensor:
    """The logits of a copy in this dtype.

    Raises:
        NotApplicable: it does not run so.
    """
    try:
        return subject.logits(short_ids(subject), narrow_of(subject, dtype))
    except (RuntimeError, TypeError, ValueError) as error:
        name = str(dtype).removeprefix("torch.")
        raise NotApplicable(f"the model does not run in {name}: {str(error).splitlines()[0][:80]}") from error


@law(
    "precision/runs-in-bfloat16",
    statement="The model runs when it is converted to bfloat16.",
    source="torch.nn.Module.to",
    looks="Converts a copy with .to(bfloat16) and makes a pass.",
    tolerance="0 errors. Under autocast alone a model may do without.",
    symptoms="`expected mat1 and mat2 to have the same dtype`, once somebody tries half precision.",
    causes="A float32 table or mask that meets bfloat16 activations; a plain tensor that does not move.",
    needs=("logits",),
    advice=True,
)
def runs_in_bfloat16(subject: Subject) -> Evidence:
    """`q * self.cos` is float32 where the table is, and attention refuses q in float32 with v in bfloat16."""
    try:
        _in(subject, torch.bfloat16)
    except NotApplicable as reason:
        return Evidence(measured=1, bound=0, unit="errors", saw=str(reason))
    return Evidence(measured=0, bound=0, unit="errors")


@law(
    "precision/finite-in-half",
    statement="Logits are finite in half precision, also where rows are padded.",
    source="bfloat16 ends at 3.4e38, float16 at 65504",
    looks="Passes a padded text through a copy in bfloat16 and counts what is NaN or infinite at real tokens.",
    tolerance="0: nothing in a sound pass is near the ends of bfloat16.",
    symptoms="NaN in half precision, most of all for short texts in a batch.",
    causes="-1e38 added to a mask twice; a softmax over minus infinities only; a norm without epsilon.",
    needs=("logits",),
)
def finite_in_half(subject: Subject) -> Evidence:
    """`finfo.min + finfo.min` is minus infinity: a row in which every key is masked twice is NaN."""
    _in(subject, torch.bfloat16)
    ids, more = short_ids(subject, 2), {}
    if subject.interface.mask is not None:
        mask = torch.ones_like(ids)
        mask[0, : ids.shape[1] // 2] = 0
        more[subject.interface.mask] = mask
    logits = subject.logits(ids, narrow_of(subject, torch.bfloat16), **more)
    real = logits[more[subject.interface.mask].bool()] if more else logits
    bad = int((~torch.isfinite(real)).sum())
    saw = "logits are not finite in bfloat16" if bad else ""
    return Evidence(measured=bad, bound=0, unit="logits", where="bfloat16", saw=saw)


@law(
    "precision/mask-in-half",
    statement="The mask holds in half precision: no later token shows.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.3: masked by minus infinity",
    looks="Changes the last token in a copy in bfloat16 and compares the logits before it.",
    tolerance="1e-2 of the change at the last token: mixtures of experts round differently, elsewhere it is 0.",
    symptoms="The loss in half precision is too good.",
    causes="A mask of small numbers; one that is lost when it is converted.",
    needs=("logits",),
)
def mask_in_half(subject: Subject) -> Evidence:
    """A mask is added to scores: where it is -100 and a score reaches 100 the future shows through."""
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")
    _in(subject, torch.bfloat16)
    model, ids = narrow_of(subject, torch.bfloat16), short_ids(subject)
    other = ids.clone()
    usual = subject.usual_ids[subject.usual_ids != ids[0, -1].cpu()]
    other[0, -1] = usual[0]
    moved = (subject.logits(ids, model) - subject.logits(other, model))[0].abs().amax(-1).double()
    share = float(moved[:-1].max() / moved[-1].clamp(min=1e-30)) if moved[:-1].any() else 0.0
    saw = "in bfloat16 the last token moves earlier logits" if share > 1e-2 else ""
    return Evidence(measured=share, bound=1e-2, where="bfloat16", saw=saw)


@law(
    "precision/stream-dtype",
    statement="In a half precision model what goes from block to block is in half precision.",
    source="torch type promotion: float32 and bfloat16 give float32",
    looks="Converts a copy to bfloat16 and looks at the dtype of what each block gives.",
    tolerance="0 blocks. Some keep the stream in float32 on purpose: it costs memory and is not wrong.",
    symptoms="Half precision is as slow and as large as float32.",
    causes="A float32 constant, table or norm weight that meets the stream.",
    needs=("logits",),
    advice=True,
)
def stream_dtype(subject: Subject) -> Evidence:
    """`x + float32_table` is float32 from there on: every later product is computed at twice the cost."""
    paths = blocks(subject)
    model = narrow_of(subject, torch.bfloat16)
    _in(subject, torch.bfloat16)
    with passages(model, paths) as seen:
        subject.logits(short_ids(subject), model)
    wide = [path for path in paths if path in seen and seen[path][0].gave.dtype != torch.bfloat16]
    saw = "a block of a bfloat16 model gives another dtype" if wide else ""
    return Evidence(measured=len(wide), bound=0, unit="blocks", where=wide[0] if wide else "", saw=saw)


@law(
    "precision/one-dtype",
    statement="All floating parameters have one dtype.",
    source="torch type promotion",
    looks="Counts the parameters whose dtype is not the most frequent one.",
    tolerance="0 parameters; keeping norms or routers in float32 on purpose is legal.",
    symptoms="Dtype errors in some layers; a model that is slower than it should be.",
    causes="A layer that was made or loaded in another dtype, or converted alone.",
    needs=("logits",),
    advice=True,
)
def one_dtype(subject: Subject) -> Evidence:
    """A head left in float32 under a bfloat16 model is either an error at the product or a silent conversion."""
    dtypes = {name: p.dtype for name, p in subject.model.named_parameters() if p.is_floating_point()}
    usual = max(set(dtypes.values()), key=lambda dtype: list(dtypes.values()).count(dtype))
    others = [name for name, dtype in dtypes.items() if dtype != usual]
    saw = f"parameters that are not {usual}" if others else ""
    where = others[0] if others else ""
    return Evidence(measured=len(others), bound=0, unit="parameters", where=where, saw=saw)


@law(
    "precision/copy-equal",
    statement="A deep copy of the model gives its logits.",
    source="copy.deepcopy; averaged weights, references and our own probes are copies",
    looks="Compares the logits of the model and of its copy, both in evaluation mode.",
    tolerance="0: the same numbers in the same operations.",
    symptoms="An averaged (EMA) model or a reference model is another model.",
    causes="State outside of the module: globals, closures over the original, ties that the copy loses.",
    needs=("logits",),
)
def copy_equal(subject: Subject) -> Evidence:
    """A hook or `functools.partial` that holds the original makes the copy read the original's weights."""
    ids = short_ids(subject)
    with kept(subject.model):
        own = subject.logits(ids, subject.model.eval())
    other = copy.deepcopy(in_evaluation(subject))
    same = relative(own, subject.logits(ids, other))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    with kept(subject.model):
        later = relative(own, subject.logits(ids, subject.model.eval()))
    off = max(same, later)
    saw = "the copy's logits differ" if same else "changing the copy changes the model" if later else ""
    return Evidence(measured=off, bound=0.0, where="deepcopy", saw=saw)


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
