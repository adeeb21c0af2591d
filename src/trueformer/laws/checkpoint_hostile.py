"""Checkpoints that bring code along. Part of `checkpoint.py`.

The only code that is ever run here makes an empty folder inside the law's own temporary one.
"""

import contextlib
import pickletools
import zipfile
from pathlib import Path

from trueformer.laws.checkpoint_files import NEEDS, files, folder, load, save, training
from trueformer.laws.counted import none_of
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

SAFE = {"collections", "torch", "torch._utils", "torch.storage", "torch.serialization", "torch._tensor",
        "torch.nn.parameter", "numpy", "numpy.dtypes", "numpy.core.multiarray", "numpy._core.multiarray",
        "_codecs"}  # fmt: skip
SAFE_NAMES = {
    "builtins.set",
    "builtins.frozenset",
    "builtins.complex",
    "builtins.bytearray",
    "builtins.slice",
}


def pickles(file: Path) -> dict[str, bytes]:
    """The pickles in a file: its own bytes, or those of its members where it is a zip as torch writes it."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name.endswith(".pkl")}
    with file.open("rb") as opened:
        start = opened.read(2)
        whole = start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
        return {"": start + opened.read()} if whole else {}


def named_objects(pickle: bytes) -> list[str]:
    """The functions and classes that a pickle names, as `module.name`; nothing of it is run."""
    found, strings = [], []
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ("GLOBAL", "INST"):
            found.append(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
            found.append(".".join(strings[-2:]))
        if isinstance(argument, str) and "GLOBAL" not in opcode.name:
            strings.append(argument)
    return found


@law(
    "checkpoint/only-data",
    statement="A checkpoint holds tensors and plain data, no objects of classes.",
    source="R3 of the catalogue of defects; torch.load(weights_only=True)",
    looks="Lists the functions and classes that the pickles of the files name, without loading them.",
    tolerance="0 besides those of tensors.",
    symptoms="The file opens only with weights_only=False and with the code that made it.",
    causes="torch.save(model, …); an argparse.Namespace, a Path or a config object in the state.",
    needs=("save",),
)
def only_data(subject: Subject) -> Evidence:
    """`torch.save({"args": args})` names argparse.Namespace: torch.load refuses it, and people turn safety off.

    `vars(args)` is a dictionary, and says the same.
    """
    one = training(subject)
    with folder() as path:
        save(subject, one, path, whole=True)
        named = [
            name for file in files(path) for raw in pickles(file).values() for name in named_objects(raw)
        ]
    strange = [n for n in dict.fromkeys(named) if n.rpartition(".")[0] not in SAFE and n not in SAFE_NAMES]
    where = strange[0] if strange else ""
    return none_of(len(strange), unit="names", where=where, saw=f"the file names {', '.join(strange[:4])}")


@law(
    "checkpoint/runs-nothing",
    statement="Loading a checkpoint runs no code that the file brings.",
    source="R3 of the catalogue of defects; Python's documentation of pickle, warning",
    looks="Adds to a saved file an instruction to make an empty folder beside it, and loads: is it there?",
    tolerance="The folder must not be there.",
    symptoms="A checkpoint from the internet does what it likes on the machine that opens it.",
    causes="torch.load(…, weights_only=False), pickle.load, joblib.load.",
    needs=NEEDS,
)
def runs_nothing(subject: Subject) -> Evidence:
    """A pickle is a program: two of its instructions call any function by name. Safetensors has no instructions."""
    one, other = training(subject), training(subject)
    with folder() as path:
        lies = save(subject, one, path)
        trace = path.parent / "was_run"
        poisoned = [file for file in files(path) if poison(file, trace)]
        if not poisoned:
            raise NotApplicable("the checkpoint holds no pickle")
        with contextlib.suppress(Exception):  # refusing is right; what counts is what was run
            load(subject, other, lies)
        ran = trace.exists()
    return none_of(int(ran), where=poisoned[0].name, saw="an instruction in the file was run by loading it")


def poison(file: Path, trace: Path) -> bool:
    """Lets the pickles of a file begin with making the folder `trace`; whether it has any."""
    call = f"cos\nmkdir\n(V{trace}\ntR0".encode()
    found = pickles(file)
    changed = {name: raw[:2] + call + raw[2:] for name, raw in found.items()}
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, raw in members.items():
                archive.writestr(name, changed.get(name, raw))
    elif changed:
        file.write_bytes(changed[""])
    return bool(changed)
