"""The rule about logging: a handler more with every call."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Function, Reading, names, parameters, parts
from trueformer.doctor.lint.rule import Found, rule


@rule(
    "handlers-pile-up",
    words=("addHandler",),
    statement="A function that sets up logging can be called twice.",
    source="Finding T24; Python's logging howto.",
    looks="Functions that get a logger by name and add a handler to it without looking at those it has.",
    tolerance="Silent where handlers are looked at, cleared or removed, in main() and cached functions.",
    symptoms="Every line appears twice, then three times; files stay open.",
    causes="getLogger returns the same logger every time.",
    remedy="return early when logger.handlers is not empty, or clear it first",
)
def handlers_pile_up(code: Reading) -> Iterator[Found]:
    """Loggers live as long as the program; what is added stays.

    Wrong:
        import logging
        def get_logger(name):
            logger = logging.getLogger(name)
            logger.addHandler(logging.StreamHandler())
            return logger

    Right:
        import logging
        def get_logger(name):
            logger = logging.getLogger(name)
            if not logger.handlers:
                logger.addHandler(logging.StreamHandler())
            return logger
    """
    for call in code.calls("addHandler"):
        function = code.function(call)
        if function is None or "main" in parts(function.name) or function.decorator_list:
            continue
        said = names(function)
        removes = any(code.calls("removeHandler"))
        looks = {"handlers", "hasHandlers", "root_handlers", "has_handlers"} & said
        if "getLogger" in said and not looks and not removes and not _guarded(code, call, function):
            yield Found(call, "each call adds one more handler to the same logger")


def _guarded(code: Reading, call: ast.Call, function: Function) -> bool:
    """Whether it runs only on import, under a condition not about a parameter, or sets a flag."""
    called = list(code.calls(function.name))
    if called and not any(code.function(used) or code.loops(used) for used in called):
        return True  # once, when the file is imported
    if any(isinstance(node, ast.Global | ast.Nonlocal) for node in ast.walk(function)):
        return True
    given = set(parameters(function)) - {"self", "cls"}
    tests = [outer.test for outer in code.around(call) if isinstance(outer, ast.If)]
    return any(not names(test) & given for test in tests)
