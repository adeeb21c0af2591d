"""Where writing ends, what it leaves behind, and what it does at the edges. Part of `inference.py`."""

import gc
import traceback

import torch
from torch import Tensor, nn

from trueformer.laws.counted import none_of
from trueformer.laws.draws import draws_random_numbers
from trueformer.laws.inference_cache import absolute_positions
from trueformer.laws.inference_calls import Writer, writer_of
from trueformer.laws.inference_forced import Forced, four_ids, peaked
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import same_bits
from trueformer.subject.subject import Subject

NEEDS = ("generate",)
LONGEST = 512  # filling a longer context takes too long


@law(
    "inference/as-many-as-asked",
    statement="As many new tokens are written as were asked for, where nothing ends the text before.",
    source="transformers, generate(max_new_tokens=…)",
    looks="Asks for 1 and for a few more tokens of a model that always says the same one.",
    tolerance="0 tokens too many or too few.",
    symptoms="Answers are one token short; a limit on cost is passed.",
    causes="A range that counts the prompt; an extra step to fill the cache.",
    needs=NEEDS,
)
def as_many_as_asked(subject: Subject) -> Evidence:
    """`for t in range(len(prompt), max_new_tokens)` writes fewer, the longer the prompt is."""
    writer = writer_of(subject)
    token = four_ids(writer)[0]
    wrong = []
    for n in (1, writer.n_new):
        (row,) = Forced(writer, peaked(writer, token)).write([writer.prompts[0]], n, **writer.greedy)
        if len(row) != n:
            wrong.append(f"{n} tokens were asked for, {len(row)} came: {row}")
    return none_of(len(wrong), saw=wrong[0] if wrong else "")


@law(
    "inference/stops",
    statement="Writing stops where the model ends the text.",
    source="transformers, generate(eos_token_id=…)",
    looks="Lets the model say the end, then another token, and looks whether that one is written.",
    tolerance="0 tokens after the end, other than padding.",
    symptoms="Answers go on with a question that nobody asked.",
    causes="The end is compared with the wrong id, or only in the first row.",
    needs=NEEDS,
)
def stops(subject: Subject) -> Evidence:
    """`if next == eos: break` with a tensor of several rows stops all, or none."""
    writer = writer_of(subject)
    writer.asked("eos")
    end, other = four_ids(writer)[:2]
    several = writer.names["eos"].endswith("s") and writer.names["eos"] != "eos"
    options = writer.greedy | {"eos": [end] if several else end}
    forced = Forced(writer, peaked(writer, end), peaked(writer, other))
    (row,) = forced.write([writer.prompts[0]], writer.n_new, **options)
    return none_of(row.count(other), unit="tokens", saw=f"the text ends with {end}, and {row} was written")


@law(
    "inference/empty-prompt",
    statement="An empty prompt is refused, or begins a text.",
    source="T1 of the catalogue of defects",
    looks="Continues an empty prompt, and compares with the one that begins a text, if its id is known.",
    tolerance="0 tokens may differ.",
    symptoms="Text from nothing: NaN, or the continuation of padding.",
    causes="A softmax over no keys; a prompt filled up with id 0.",
    needs=NEEDS,
)
def empty_prompt(subject: Subject) -> Evidence:
    """There is no last token to predict from. Refuse, or put BOS in front, as in training."""
    writer = writer_of(subject)
    bos = subject.claims.bos_id
    if bos is None:
        bos = next((getattr(subject.tokenizer, n, None) for n in ("bos_id", "bos_token_id")), None)
    try:
        got = writer.write(writer.model, [[]], writer.n_new, **writer.greedy)
    except Exception:  # noqa: BLE001 - refusing is right, in whatever words
        return none_of(0)
    if not isinstance(bos, int):
        raise NotApplicable("it wrote something, and the id that begins a text is not known")
    wanted = writer.write(writer.model, [[bos]], writer.n_new, **writer.greedy)
    new = [row[1:] if row[:1] == [bos] else row for row in got]
    return none_of(int(new != wanted), saw=f"from nothing came {got}, from the beginning {wanted}")


@law(
    "inference/context-end",
    statement="Past the longest context, writing is refused in words or slides on with the latest tokens.",
    source="T16 of the catalogue of defects",
    looks="Continues a prompt as long as the context by two tokens, and compares its logits with a pass over the latest.",
    tolerance="2e-4 of the largest logit: rounding, in float32 at worst.",
    symptoms="IndexError in a long chat; or text that turns to nonsense at the end of the context.",
    causes="Positions that wrap or stay at the last; a cache that overwrites its end; no check.",
    needs=NEEDS,
)
def context_end(subject: Subject) -> Evidence:
    """`positions % block_size` never fails: token 65 of 64 is taken for the first."""
    writer = writer_of(subject)
    longest = subject.max_len
    if longest is None or longest > LONGEST:
        raise NotApplicable(f"the longest context is not known, or above {LONGEST}")
    prompt = subject.ids(1, longest, seed=5).tolist()[0]
    try:
        new, said = writer.heard(prompt, 2)
    except Exception as error:  # noqa: BLE001 - whether it was meant is judged
        meant = _deliberate(error)
        return none_of(int(not meant), saw=f"{type(error).__name__}: {error}")
    heard = said or [None] * len(new)
    off = [_off(subject, prompt + new[:i], new[i], logits_V) for i, logits_V in enumerate(heard)]
    worst = max(off, default=0.0)
    bound = max(subject.noise, 2e-4)
    saw = f"past {longest} tokens the model says what it does not say of the latest {longest}"
    return Evidence(
        measured=worst, bound=bound, unit="of the largest logit", saw=saw if worst > bound else ""
    )


def _off(subject: Subject, seen: list[int], token: int, said_V: Tensor | None) -> float:
    """How far what was said is from the logits after the latest tokens, or after all that the model takes.

    Where it was not heard, how far the token's logit is below the largest.
    """
    model = writer_of(subject).model
    found, longest = [], subject.max_len or 0
    table = any(p.ndim == 2 and p.shape[0] in (longest, longest + 2) for p in subject.model.parameters())
    learnt = table and absolute_positions(subject)  # such positions do not go on; others may
    for length in (longest, longest - 1, longest if learnt else len(seen)):
        try:
            last_V = subject.logits(torch.tensor([seen[-length:]]), model)[0, -1]
        except (RuntimeError, ValueError, IndexError, AssertionError):
            continue
        short = last_V.max() - last_V[token] if said_V is None else (said_V - last_V).abs().max()
        found.append(float(short / last_V.abs().max()))
    return min(found, default=0.0)


def _deliberate(error: Exception) -> bool:
    """Whether somebody wrote `raise` or `assert` for this, rather than an index running over."""
    if isinstance(error, ValueError | AssertionError | NotImplementedError):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    return not isinstance(error, LookupError) and (last.line or "").startswith("raise")


@law(
    "inference/leaves-alone",
    statement="Writing changes no weight, no mode and no gradient of the model.",
    source="Writing is reading",
    looks="Compares the state, the mode of each module and the gradients before and after, from both modes.",
    tolerance="0 changes.",
    symptoms="After the first sample, training is worse: dropout is off.",
    causes="model.eval() without putting the mode back; a cache among the buffers that are saved.",
    needs=NEEDS,
)
def leaves_alone(subject: Subject) -> Evidence:
    """A sample every 1000 steps that leaves eval() on turns dropout off for the rest of the run."""
    writer = writer_of(subject)
    wrong: list[str] = []
    for training in (True, False):
        model = writer.make().train(training)
        for parameter, like in zip(model.parameters(), subject.model.parameters(), strict=True):
            parameter.requires_grad_(like.requires_grad)
        wrong += _changed(writer, model, "training" if training else "evaluation")
    return none_of(len(wrong), where=wrong[0] if wrong else "", saw="writing changed it")


def _changed(writer: Writer, model: nn.Module, mode: str) -> list[str]:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [(name, module, module.training) for name, module in model.named_modules()]
    asked = [(name, p, p.requires_grad) for name, p in model.named_parameters()]
    try:
        writer.write(model, writer.prompts[:1], 1, **writer.greedy)
    except (ValueError, AssertionError):
        return []  # it refuses a model in training mode
    now = model.state_dict()
    wrong = [name for name in {**state, **now} if name not in state or name not in now]
    wrong += [name for name in state if name in now and not same_bits(state[name], now[name])]
    wrong += [f"the mode of {n or 'the model'}, given in {mode}" for n, m, was in modes if m.training != was]
    wrong += [f"requires_grad of {name}" for name, p, was in asked if p.requires_grad != was]
    return wrong + [f"the gradient of {name}" for name, p, _ in asked if p.grad is not None]


@law(
    "inference/dropout-off",
    statement="Dropout is off while a model writes.",
    source="Srivastava et al. 2014, §10: at test time",
    looks="Writes with a copy in training mode, and looks at its mode during the pass.",
    tolerance="0 passes in training mode.",
    symptoms="Samples during training are worse than those of the same checkpoint later.",
    causes="generate leaves the mode to its caller.",
    needs=NEEDS,
    advice=True,
)
def dropout_off(subject: Subject) -> Evidence:
    """`model.eval()` in the script is forgotten once; a generate that sets and restores the mode cannot be misused."""
    writer = writer_of(subject)
    if not draws_random_numbers(subject):
        raise NotApplicable("the model has no dropout")
    forced = Forced(writer, peaked(writer, four_ids(writer)[0]))
    forced.model.train()
    try:
        forced.write(writer.prompts[:1], 1, **writer.greedy)
    except (ValueError, AssertionError):
        return none_of(0)  # it refuses a model in training mode
    finally:
        forced.model.eval()
    return none_of(int(forced.in_training), saw="generate ran a model in training mode")


@law(
    "inference/no-gradients",
    statement="Writing keeps no graph for gradients.",
    source="torch.no_grad, torch.inference_mode",
    looks="Looks during the pass whether gradients are recorded.",
    tolerance="0 passes with gradients.",
    symptoms="Memory grows with each token, above all with a cache.",
    causes="No torch.no_grad() around the loop.",
    needs=NEEDS,
    advice=True,
)
def no_gradients(subject: Subject) -> Evidence:
    """With a cache, each token's graph holds on to all before it: memory grows until the end of the text."""
    writer = writer_of(subject)
    if not any(p.requires_grad for p in subject.model.parameters()):
        raise NotApplicable("no parameter asks for gradients")
    forced = Forced(writer, peaked(writer, four_ids(writer)[0]))
    with torch.enable_grad():
        forced.write(writer.prompts[:1], 1, **writer.greedy)
    return none_of(int(forced.with_gradients), saw="a pass recorded gradients")


@law(
    "inference/no-growth",
    statement="Writing again and again takes no more memory.",
    source="N11 of the catalogue of defects",
    looks="Counts the bytes of all tensors alive after 3 calls and after 8.",
    tolerance="0 bytes more: calls of one length need the same each time.",
    symptoms="The server is killed after a day.",
    causes="Caches, logits or histories kept in a list; a reset that makes new ones and keeps the old.",
    needs=NEEDS,
)
def no_growth(subject: Subject) -> Evidence:
    """A cache that doubles within a call is well; one that is longer after each call is a leak."""
    writer = writer_of(subject)

    def write(times: int) -> int:
        for _ in range(times):
            writer.write(writer.model, writer.prompts[:1], min(2, writer.n_new), **writer.greedy)
        return bytes_alive()

    first = write(3)
    more = write(5) - first
    return none_of(max(0, more), unit="bytes", saw=f"after 8 calls {more} bytes more are held than after 3")


def bytes_alive() -> int:
    """The bytes of all tensors that Python still knows of, each memory once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (Tensor, nn.Parameter) and thing.layout is torch.strided and not thing.is_meta:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
