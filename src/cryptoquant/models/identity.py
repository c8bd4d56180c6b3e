"""What a setting is, told the same in every process: functions by their code, objects by what they hold."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

# Whose code is told by the versions of libraries, or cannot change.
OWN_MODULES = ("builtins", "abc", "typing", "cryptoquant", "datetime", "enum", "collections")


def identity(thing: Any) -> Any:
    """Return plain JSON values that differ where the thing would behave differently, as far as its own code tells.

    A function is told by its code with constants and names, its defaults and what it closes over; a partial by its
    function and arguments; an object by its class and parameters, fields or attributes; an array by its digest. What a
    function calls is told by its name only.
    """
    return _told(thing, ())


def _told(thing: Any, above: tuple[int, ...]) -> Any:
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if id(thing) in above:
        return "itself"
    within = (*above, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): _told(value, within) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [_told(one, within) for one in thing]
    if isinstance(thing, set | frozenset):
        return sorted(str(_told(one, within)) for one in thing)
    if isinstance(thing, bytes | np.ndarray):
        content = (
            thing if isinstance(thing, bytes) else str(thing.dtype).encode() + np.ascontiguousarray(thing).tobytes()
        )
        return hashlib.sha256(content).hexdigest()
    return _called(thing, within) if callable(thing) else _held(thing, within)


def _called(thing: Any, within: tuple[int, ...]) -> Any:
    if isinstance(thing, functools.partial):
        return ["partial", *(_told(part, within) for part in (thing.func, thing.args, thing.keywords))]
    if isinstance(thing, MethodType):
        return [thing.__func__.__qualname__, _told(thing.__self__, within)]
    if isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        held = (thing.__defaults__, thing.__kwdefaults__, cells)
        return [f"{thing.__module__}.{thing.__qualname__}", _code(thing.__code__), *(_told(x, within) for x in held)]
    if isinstance(thing, type | BuiltinFunctionType | np.ufunc):
        return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"
    return _held(thing, within)


def _held(thing: Any, within: tuple[int, ...]) -> Any:
    """Return the class of an object, and what it holds."""
    name = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if is_dataclass(thing):
        return [name, {one.name: _told(getattr(thing, one.name), within) for one in fields(thing)}]
    if callable(getattr(thing, "get_params", None)):
        return [name, _told(thing.get_params(), within)]
    if getattr(thing, "__dict__", None):
        return [name, _told(vars(thing), within)]
    text = repr(thing)
    return [name, "" if " at 0x" in text else text]


def user_code(thing: Any) -> dict[str, str]:
    """Return a digest of the code of every class that a setting is made of and that this library does not hold.

    Keys are module and qualified name. Members of dataclasses, of containers and of estimators are visited too.
    """
    found: dict[str, str] = {}
    _visit(thing, found, set())
    return dict(sorted(found.items()))


def _visit(thing: Any, found: dict[str, str], seen: set[int]) -> None:
    if id(thing) in seen or thing is None or isinstance(thing, bool | int | float | str | bytes | np.ndarray):
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        parts = list(thing.values())
    elif isinstance(thing, list | tuple | set | frozenset):
        parts = list(thing)
    else:
        for kind in type(thing).__mro__:
            if kind.__module__.split(".")[0] not in OWN_MODULES:
                found[f"{kind.__module__}.{kind.__qualname__}"] = _class_code(kind)
        parts = [getattr(thing, one.name) for one in fields(thing)] if is_dataclass(thing) else []
        parts += list(getattr(thing, "__dict__", {}).values())
    for part in parts:
        _visit(part, found, seen)


def _class_code(kind: type) -> str:
    """Return a digest of the functions that a class itself defines."""
    codes = []
    for name, value in sorted(vars(kind).items()):
        parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
        codes += [f"{name} {_code(one.__code__)}" for one in parts if isinstance(one, FunctionType)]
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16]


def _code(code: CodeType) -> str:
    """Return a digest of what code does: its instructions, names and constants, those of the code within it too."""
    constants = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    text = [code.co_code.hex(), *code.co_names, *constants]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]
