"""Checkpoints: what is saved comes back whole, and is what was there.

Going on with training is in `checkpoint_training.py`, damaged files in `checkpoint_damage.py` and
`checkpoint_checksums.py`, hostile ones in `checkpoint_hostile.py`.
"""

import importlib
import inspect

import torch
from torch import nn

from trueformer.laws.checkpoint_files import (
    EXACT,
    NEEDS,
    different,
    files,
    folder,
    head,
    load,
    loads_into,
    perturb,
    save,
    tensors,
    training,
    visit,
)
from trueformer.laws.counted import none_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_saved import spoken
from trueformer.laws.tokenizer_speech import ENGLISH, Speech, blocks, speech_of
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import equal
from trueformer.subject.subject import Subject


@law(
    "checkpoint/weights",
    statement="Weights that are saved and loaded are the same to the last bit.",
    source="R18 of the catalogue of defects",
    looks="Saves a copy, loads it into another with other weights, and compares every tensor of the state.",
    tolerance=EXACT,
    symptoms="A resumed run's loss jumps; a loaded model is a little worse, or random.",
    causes="A tensor left out, or saved in half precision; keys that are skipped; the wrong model is loaded into.",
    needs=NEEDS,
)
def weights(subject: Subject) -> Evidence:
    """`torch.save(model.half().state_dict(), …)` keeps three digits of seven, and halves the owner's model as well."""
    seen = visit(subject)
    return tensors(different(seen.before.model, seen.after.model), "a tensor is not as it was saved")


@law(
    "checkpoint/tied",
    statement="Weights that are tied before loading are tied after it.",
    source="R11 of the catalogue of defects; Press & Wolf 2017, arXiv:1608.05859",
    looks="Counts the parameters that share memory in the saved copy and in the loaded one.",
    tolerance="0 may come apart.",
    symptoms="After resuming, the embedding and the head drift apart, and the model has more parameters.",
    causes="Loading with assign=True, or setting one of the two to a new parameter.",
    needs=NEEDS,
)
def tied(subject: Subject) -> Evidence:
    """`model.head.weight = nn.Parameter(saved["head.weight"])` makes two of one: only one of them sees each gradient."""
    seen = visit(subject)
    shared = _shared(seen.before.model)
    if not shared:
        raise NotApplicable("no two parameters are tied")
    lost = sorted(shared - _shared(seen.after.model))
    return tensors(lost, "two names of one parameter are two parameters after loading")


def _shared(model: nn.Module) -> set[str]:
    """The further names of parameters that have several."""
    single = dict(model.named_parameters())
    return {name for name, _ in model.named_parameters(remove_duplicate=False) if name not in single}


@law(
    "checkpoint/leaves-alone",
    statement="Saving changes nothing of the model or the optimizer.",
    source="Saving is reading",
    looks="Compares weights, dtypes, modes and the optimizer's state before and after saving.",
    tolerance=EXACT,
    symptoms="Training is worse after the first checkpoint.",
    causes="model.half(), model.cpu() or model.eval() in the saver; tensors emptied for the file.",
    needs=("save",),
)
def leaves_alone(subject: Subject) -> Evidence:
    """`torch.save(model.half().state_dict(), path)` leaves a model of half precision behind."""
    one, same = training(subject), training(subject)
    with folder() as path:
        save(subject, one, path, whole=True)
    wrong = different(one.model, same.model)
    modes = zip(one.model.named_modules(), same.model.modules(), strict=True)
    wrong += [f"mode of {name or 'the model'}" for (name, m), old in modes if m.training != old.training]
    pairs = zip(one.model.named_parameters(), same.model.parameters(), strict=True)
    wrong += [f"requires_grad of {name}" for (name, p), old in pairs if p.requires_grad != old.requires_grad]
    if one.optimizer is not None and not equal(one.optimizer.state_dict(), same.optimizer.state_dict()):
        wrong.append("the optimizer")
    return none_of(len(wrong), where=wrong[0] if wrong else "", saw="saving changed it")


@law(
    "checkpoint/dtype",
    statement="A model in bfloat16 comes back in bfloat16, bit for bit.",
    source="torch: load_state_dict copies into the dtype that is there",
    looks="Saves a copy in bfloat16, loads it into another, and compares.",
    tolerance=EXACT,
    symptoms="A model needs twice the memory after loading, or loses bits each time.",
    causes="A format that has no bfloat16 (numpy); weights assigned in the dtype of the file.",
    needs=NEEDS,
)
def dtype(subject: Subject) -> Evidence:
    """numpy has no bfloat16: `.half().numpy()` has more digits and less range, and 1e-8 becomes 0."""
    if not loads_into(subject):
        raise NotApplicable("load makes a model of its own, in a dtype of its own")
    one, other = training(subject), training(subject)
    for each in (one, other):
        each.model = each.model.to(torch.bfloat16)
    perturb(other.model)
    with folder() as path:
        load(subject, other, save(subject, one, path))
    return tensors(different(one.model, other.model), "a tensor in bfloat16 is not as it was saved")


@law(
    "checkpoint/overwrites",
    statement="What is saved last is what is loaded.",
    source="Definition of a checkpoint",
    looks="Saves twice at one place, with other weights the second time, and loads.",
    tolerance=EXACT,
    symptoms="Evaluation never changes: it reads the first checkpoint.",
    causes="An existing file is kept; the name of the file is made once.",
    needs=NEEDS,
)
def overwrites(subject: Subject) -> Evidence:
    """`if not path.exists(): save(…)` was meant for the best model, and keeps the first."""
    one, other = training(subject), training(subject)
    with folder() as path:
        save(subject, one, path)
        perturb(one.model)
        try:
            lies = save(subject, one, path)
        except FileExistsError as error:
            raise NotApplicable("save refuses to write over a checkpoint") from error
        load(subject, other, lies)
    return tensors(different(one.model, other.model), "an older checkpoint is loaded")


WORDS = (b"token", b"vocab", b"merges", b"chars", b"stoi", b"itos", b"alphabet")


@law(
    "checkpoint/tokenizer-travels",
    statement="The tokenizer lies in the checkpoint, or is named in it.",
    source="T15 of the catalogue of defects",
    looks="Looks in the names and the text of the files for a tokenizer or a vocabulary.",
    tolerance="One sign of it.",
    symptoms="A fluent model that writes gibberish, because it is used with another tokenizer.",
    causes="Only weights are saved; the tokenizer is rebuilt from range(vocab_size) or from other data.",
    needs=("save", "tokenizer"),
    advice=True,
)
def tokenizer_travels(subject: Subject) -> Evidence:
    """Ids mean nothing without their table: a checkpoint of weights alone can be loaded, and not be read."""
    assert subject.save is not None
    one = training(subject)
    with folder() as path:
        lies = save(subject, one, path, whole=True)
        tensor_names = " ".join(one.model.state_dict()).encode()
        texts = [file.name.lower().encode() + head(file) for file in files(lies if lies.is_dir() else path)]
    mentioned = any(text.count(word) > tensor_names.count(word) for text in texts for word in WORDS)
    own = f"save({', '.join(inspect.signature(subject.save).parameters)})"
    return none_of(int(not mentioned), saw=f"{own} writes no sign of the tokenizer")


@law(
    "checkpoint/tokenizer-comes-back",
    statement="The tokenizer that a checkpoint carries encodes as the one that was given to it.",
    source="T15 of the catalogue of defects",
    looks="Saves, loads the tokenizer with load_tokenizer, and compares ids and texts of the samples.",
    tolerance="0 texts may differ.",
    symptoms="A fluent model that writes gibberish, on another machine than the one it was trained on.",
    causes="The tokenizer is not saved with it, or another one is; a table rebuilt in another order.",
    needs=("save", "tokenizer", "load_tokenizer"),
)
def tokenizer_comes_back(subject: Subject) -> Evidence:
    """Trained with "a" as 5 and read with "a" as 6, every text is shifted by a letter."""
    assert subject.load_tokenizer is not None
    one, speech = training(subject), speech_of(subject)
    if sum(p.default is p.empty for p in inspect.signature(subject.load_tokenizer).parameters.values()) != 1:
        raise NotApplicable("load_tokenizer asks for more than the path of a checkpoint")
    with folder() as path:
        lies = save(subject, one, path, whole=True)
        try:
            again = Speech(subject.load_tokenizer(lies))
        except Exception as error:  # noqa: BLE001 - a checkpoint without one is what is looked for
            return none_of(1, where="load_tokenizer", saw=f"{type(error).__name__}: {error}")
        texts = [ENGLISH, *blocks()[::16], *speech.special]
        wrong = [text for text in texts if spoken(speech, text) != spoken(again, text)]
    saw = f"{wrong[0][:30]!r} is encoded otherwise" if wrong else ""
    return none_of(len(wrong), unit=f"of {len(texts)} texts", where="load_tokenizer", saw=saw)


for part in ("checkpoint_training", "checkpoint_damage", "checkpoint_checksums", "checkpoint_hostile"):
    importlib.import_module(f"trueformer.laws.{part}")
