"""Rules about data: validation in a fixed order, text that stays text."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, is_constant, keyword, last, names, parts
from trueformer.doctor.lint.rule import Fix, Found, rule

HELD_OUT = {"val", "valid", "validation", "test", "eval", "evaluation", "dev", "heldout", "holdout"}
TRAINING = {"train", "training", "trainset"}
TEXT = {"text", "texts", "content", "sentence", "sentences", "document", "prompt"}


@rule(
    "shuffled-validation",
    words=("shuffle",),
    statement="Validation and test data come in a fixed order.",
    source="Finding A6.",
    looks="DataLoader(shuffle=True) kept under, or made from, a name that says validation, test or dev.",
    tolerance="Silent where the same names also say training.",
    symptoms="Validation losses of a subset differ from run to run, and between checkpoints.",
    causes="The training loader was copied.",
    remedy="shuffle=False",
)
def shuffled_validation(code: Reading) -> Iterator[Found]:
    """A curve is only comparable when every point is measured on the same batches.

    Wrong:
        from torch.utils.data import DataLoader
        def loaders(train_set, val_set):
            return DataLoader(train_set, shuffle=True), DataLoader(val_set, shuffle=True)

    Right:
        from torch.utils.data import DataLoader
        def loaders(train_set, val_set):
            return DataLoader(train_set, shuffle=True), DataLoader(val_set, shuffle=False)
    """
    for call in code.calls("DataLoader"):
        if is_constant(keyword(call, "shuffle"), True):
            words = {part for name in _said_of(code, call) for part in parts(name)}
            if words & HELD_OUT and not words & TRAINING:
                fix = Fix(at=call, kind="argument", name="shuffle", code="False")
                yield Found(
                    call, "held-out data is shuffled: its loss is not comparable from run to run", fix
                )


def _said_of(code: Reading, call: ast.Call) -> set[str]:
    """The names of the data and of what the loader is assigned to."""
    statement = code.statement(call)
    data = call.args[0] if call.args else keyword(call, "dataset")
    said = names(data) if data else set()
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is call:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        said |= {last(target) for target in targets}
    return said


@rule(
    "format-text",
    words=("set_format", "with_format"),
    statement="A column of text is not given a tensor format.",
    source="Finding A2; datasets.Dataset.set_format.",
    looks='set_format or with_format with "torch" and a list of columns that names text.',
    tolerance="Silent without a list of columns: whether they hold text cannot be seen in the source.",
    symptoms="The loader yields strings where tensors were meant, or nothing.",
    causes="The call was meant for the tokenised dataset.",
    remedy="tokenise first, and name the columns of ids",
)
def format_text(code: Reading) -> Iterator[Found]:
    """A string has no tensor: it comes through unchanged and fails later.

    Wrong:
        def prepare(dataset):
            dataset.set_format(type="torch", columns=["text"])

    Right:
        def prepare(dataset):
            dataset.set_format(type="torch", columns=["input_ids"])
    """
    for call in code.calls("set_format", "with_format"):
        texts = {n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        columns = keyword(call, "columns")
        if columns and texts & {"torch", "pt", "pytorch"} and _strings(columns) & TEXT:
            yield Found(call, "a column of text is given a tensor format, which leaves it text")


def _strings(node: ast.expr) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
