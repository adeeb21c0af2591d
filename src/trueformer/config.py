"""Configurations as plain data: dataclasses to dictionaries and back, unknown keys refused.

Leaves out any schema language: a configuration is a frozen dataclass, its `__post_init__` the validator.
"""

import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A nested dataclass as JSON-ready dictionaries. Example: `to_dict(DecoderConfig(...))["d_model"]`."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_dict(cls: type[T], values: dict[str, Any], where: str = "") -> T:
    """Build `cls` (a dataclass) from a dictionary made by `to_dict`.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type; names the key and what was
            expected.
    """
    where = where or cls.__name__
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object with named values, got {type(values).__name__}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(fields)}"
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
    missing = [name for name, f in fields.items() if name not in values and _required(f)]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        rest = [a for a in args if a is not type(None)]
        return _convert(rest[0], value, where) if len(rest) == 1 else value
    if origin is typing.Literal:
        if value not in args:
            raise ValueError(f"{where}: got {value!r}, expected one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        return tuple(_convert(args[0], item, where) for item in value)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if hint is Path:
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ValueError(f"{where}: got {value!r} ({type(value).__name__}), expected {hint.__name__}")
    return value
