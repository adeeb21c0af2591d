"""Checkpoints that state checksums of their files. Part of `checkpoint.py`."""

import hashlib
from pathlib import Path

from trueformer.laws.checkpoint_damage import raises
from trueformer.laws.checkpoint_files import NEEDS, files, folder, load, save, training
from trueformer.laws.counted import none_of
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

SUMS = ("sha256", "sha512", "sha1", "md5", "blake2b")
SHORT = 1 << 20  # bytes: a list of checksums is shorter


@law(
    "checkpoint/checksums-are-checked",
    statement="A checkpoint that states checksums of its files is refused when a byte of one has changed.",
    source="Bairavasundaram et al. 2008, An Analysis of Data Corruption in the Storage Stack",
    looks="Looks for a file whose checksum stands in another, changes one bit in its last quarter, and loads.",
    tolerance="It must raise. A checkpoint that states none is not judged.",
    symptoms="One weight of a million is another after a copy over a bad disk, and nobody is told.",
    causes="Checksums are written, and not compared on loading.",
    needs=NEEDS,
)
def checksums_are_checked(subject: Subject) -> Evidence:
    """One bit in the exponent of a float32 makes 2 of 0.5, or 1e38 of 1. Formats of tensors alone do not notice."""
    one, other = training(subject), training(subject)
    with folder() as path:
        lies = save(subject, one, path)
        changed = _stated(files(path))
        with changed.open("r+b") as file:
            file.seek(changed.stat().st_size * 3 // 4)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 1]))
        raised = raises(load, subject, other, lies)
    return none_of(
        int(not raised), where=changed.name, saw="a file with one bit changed was loaded without an error"
    )


def _stated(found: list[Path]) -> Path:
    """The largest file whose checksum stands in another.

    Raises:
        NotApplicable: there is none.
    """
    texts = {file: file.read_bytes().lower() for file in found if file.stat().st_size < SHORT}
    for file in found:
        content = file.read_bytes()
        sums = [hashlib.new(name, content).hexdigest().encode() for name in SUMS]
        if content and any(total in text for total in sums for other, text in texts.items() if other != file):
            return file
    raise NotApplicable("the checkpoint states no checksum of its files")
