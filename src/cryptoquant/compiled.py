"""The one decorator that turns a kernel into machine code, with a cache that never serves stale code.

numba keys its on-disk cache by the text of the kernel's own file. A kernel that calls a kernel of another file keeps
the old machine code of the callee when only that other file changes. Here the cache folder is salted with the source
of every module that holds kernels, so that any edit of any kernel starts a fresh cache.
"""

import ctypes
import hashlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from llvmlite.ir import Constant, FloatType, IntType, Undefined, VectorType, VoidType
from llvmlite.ir import FunctionType as FunctionPointer
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE = Path(__file__).resolve().parent
MARK = f"from {__name__} import"
IMPORT = re.compile(rf"^from {__name__.partition('.')[0]}\.([\w.]+) import", re.MULTILINE)


def kernel_sources(package: Path = PACKAGE) -> list[Path]:
    """Return the files that hold compiled kernels, sorted by path."""
    return sorted(path for path in package.rglob("*.py") if MARK in path.read_text(encoding="utf-8"))


def salted_sources(package: Path = PACKAGE) -> list[Path]:
    """Return the files that hold compiled kernels and those that they import from: constants are compiled in."""
    files = set(kernel_sources(package))
    for path in kernel_sources(package):
        for name in IMPORT.findall(path.read_text(encoding="utf-8")):
            place = package.joinpath(*name.split("."))
            files |= {found for found in (place.with_suffix(".py"), place / "__init__.py") if found.exists()}
    return sorted(files)


def salt(package: Path = PACKAGE) -> str:
    """Return a digest of the names and texts of all sources that are compiled in."""
    digest = hashlib.sha256()
    for path in salted_sources(package):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Return the folder of this build's machine code: ``CQ_CACHE`` or the user's cache folder, salted."""
    chosen = os.environ.get("CQ_CACHE")
    root = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cryptoquant"
    folder = root / "kernels" / salt()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="cryptoquant-kernels-"))
    return folder


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` with numba: no Python objects, no global lock, no reordering of floats, cached on disk.

    IEEE order is kept (no fast math), so that a batch loop and an online update give the same bits.
    """
    return _compiled(function)


def borrowing(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that only borrows its arrays: it makes none and returns none, and calls none that returns one.

    Its caller keeps them alive, so that no reference is counted, which would cost more than most of the work where
    dozens of arrays travel in tuples. numba refuses to compile one that makes an array itself.
    """
    return _compiled(function, _nrt=False)


def uncached(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel of the user's own: a place outside of an array is an error.

    Its machine code is not kept, since nothing tells when its source changes.
    """
    return _compiled(function, cache=False, boundscheck=True)


_COMPILING = threading.RLock()


@contextmanager
def _our_cache() -> Iterator[None]:
    """Let numba keep machine code in our folder, for one thread at a time."""
    with _COMPILING:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(cache_folder())
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before


def _compiled(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    with _our_cache():
        options = {"cache": True, "nogil": True, **options}
        compiled: Callable[P, R] = numba.njit(error_model="numpy", **options)(function)
    return compiled


LANES = 16
_VECTOR = VectorType(FloatType(), LANES)


class Lanes(numba.types.Type):  # type: ignore[misc]
    """Inside a kernel, 16 float32 numbers that are computed with at once: one register of AVX-512, two of AVX2.

    What is said with lanes is vectorised whatever the compiler would have found out by itself, and each lane has the
    bits that one number alone would have.
    """

    def __init__(self) -> None:
        super().__init__("lanes")


_LANES = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _fused(typing: Any, x: Any, y: Any, z: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    def generate_lanes(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shape = FunctionPointer(_VECTOR, [_VECTOR] * 3)
        return builder.call(get_or_insert_function(builder.module, shape, f"llvm.fma.v{LANES}f32"), arguments)

    number = _LANES if x == _LANES else numba.types.float64
    return number(number, number, number), generate_lanes if x == _LANES else generate


fused: Callable[[float, float, float], float] = intrinsic(_fused)
"""Inside a kernel, x * y + z with one rounding, of numbers or of lanes.

In an average it shortens the wait for the number before by a third, and a series that stands still stays where it is.
Said outright, it is the same in every kernel, unlike what a compiler may fuse.
"""


def _place_of(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _lanes_at(typing: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place_of(context, builder, signature.args[0], *arguments), align=4)

    return _LANES(_SINGLES, numba.types.int64), generate


def _put_lanes(typing: Any, array: Any, at: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *place, said = arguments
        builder.store(said, _place_of(context, builder, signature.args[0], *place), align=4)
        return context.get_dummy_value()

    return numba.types.void(_SINGLES, numba.types.int64, _LANES), generate


def _spread(typing: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, nothing = IntType(32), Constant(_VECTOR, Undefined)
        first = builder.insert_element(nothing, arguments[0], Constant(place, 0))
        return builder.shuffle_vector(first, nothing, Constant(VectorType(place, LANES), [0] * LANES))

    return _LANES(numba.types.float32), generate


def _of_two(instruction: str) -> Any:
    def typed(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return _LANES(_LANES, _LANES), generate

    return intrinsic(typed)


def _bounded(typing: Any, x: Any, low: Any, high: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, least, most = arguments
        value = builder.select(builder.fcmp_ordered("<", value, least), least, value)
        return builder.select(builder.fcmp_ordered(">", value, most), most, value)

    return _LANES(_LANES, _LANES, _LANES), generate


_SINGLES = numba.types.Array(numba.types.float32, 1, "C")

lanes_at: Callable[[NDArray[np.float32], int], Any] = intrinsic(_lanes_at)
"""Inside a kernel, the 16 numbers of a float32 array from a place on; the array must reach that far."""

put_lanes: Callable[[NDArray[np.float32], int, Any], None] = intrinsic(_put_lanes)
"""Inside a kernel, write lanes into a float32 array from a place on."""

spread: Callable[[Any], Any] = intrinsic(_spread)
"""Inside a kernel, one float32 number in all lanes."""

times: Callable[[Any, Any], Any] = _of_two("fmul")
"""Inside a kernel, the products of two lanes."""

divided: Callable[[Any, Any], Any] = _of_two("fdiv")
"""Inside a kernel, the quotients of two lanes."""

bounded: Callable[[Any, Any, Any], Any] = intrinsic(_bounded)
"""Inside a kernel, lanes held between two others; what is not a number stays so."""


def _array_at(number: Any, dimensions: int) -> Any:
    array = numba.types.Array(number, dimensions, "C")
    bytes_each = 1 if number == numba.types.boolean else 8

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder)
        address, *shape = arguments
        width = context.get_constant(numba.types.intp, bytes_each)
        strides = [width] if dimensions == 1 else [builder.mul(width, shape[1]), width]
        pointer = builder.inttoptr(address, context.get_data_type(number).as_pointer())
        populate_array(made, data=pointer, shape=shape, strides=strides, itemsize=width, meminfo=None)
        return made._getvalue()

    given = array(numba.types.int64, *[numba.types.intp] * dimensions), generate

    def of_length(typing: Any, address: Any, length: Any) -> Any:
        return given

    def of_shape(typing: Any, address: Any, rows: Any, columns: Any) -> Any:
        return given

    return intrinsic(of_length if dimensions == 1 else of_shape)


floats_at: Callable[[int, int], NDArray[np.float64]] = _array_at(numba.types.float64, 1)
"""Inside a kernel, the float64 array that begins at an address and has some length. Its owner must outlive the call."""

integers_at: Callable[[int, int], NDArray[np.int64]] = _array_at(numba.types.int64, 1)
"""As ``floats_at``, of int64."""

flags_at: Callable[[int, int], NDArray[np.bool_]] = _array_at(numba.types.boolean, 1)
"""As ``floats_at``, of booleans."""

numbers_at: Callable[[int, int, int], NDArray[np.int64]] = _array_at(numba.types.int64, 2)
"""As ``integers_at``, of rows and columns."""

table_at: Callable[[int, int, int], NDArray[np.float64]] = _array_at(numba.types.float64, 2)
"""As ``floats_at``, of rows and columns."""


def _address_of(typing: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(given.data, context.get_value_type(numba.types.int64))

    return numba.types.int64(array), generate


address_of: Callable[[NDArray[Any]], int] = intrinsic(_address_of)
"""Inside a kernel, where an array begins in memory.

An array that the kernel has made itself is freed after its last mention, and an address is none: ask only for arrays
that the caller owns.
"""


def _call(typing: Any, entry: Any, frame: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_value_type(numba.types.int64)
        function = FunctionPointer(VoidType(), [number])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return numba.types.void(numba.types.int64, numba.types.int64), generate


call: Callable[[int, int], None] = intrinsic(_call)
"""Inside a kernel, call the machine code at an address that ``entry`` gave, with the address of its frame."""


_ENTRIES: dict[Any, Any] = {}


def named(step: Callable[..., Any]) -> tuple[str, str] | None:
    """Return module and name under which a kernel is found, None for one that was made inside a function."""
    found: Any = sys.modules.get(step.__module__)
    for name in getattr(step, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return (step.__module__, step.__qualname__) if found is step else None


def entry(template: Callable[[int], None], step: Callable[..., Any]) -> int:
    """Return the address of ``template(frame)`` in which the name ``STEP`` means a kernel.

    So a driver calls steps that it does not know: each is compiled when it is first asked for, the driver only once.
    Machine code is kept on disk for the steps of this package, whose edits the cache notices. A step that raises ends
    there; the template has to leave a mark behind it for the driver to see.

    Parameters
    ----------
    template
        A function of one int64 at the top of a file, which calls ``STEP``.
    step
        A kernel.

    Raises
    ------
    TypeError
        numba cannot compile the step.
    """
    with _our_cache():
        found = _ENTRIES.get((template, step))
        if found is None:
            source: Any = step.py_func  # type: ignore[attr-defined]
            # Inlined, or its arrays would be handed over once more, number by number: as dear as a short step.
            options = {**step.targetoptions, "forceinline": True}  # type: ignore[attr-defined]
            inlined = numba.njit(**{name: options[name] for name in options.keys() - {"nopython"}})(source)
            around = {**template.__globals__, "STEP": inlined}
            function = FunctionType(template.__code__, around, f"{source.__name__}{template.__name__}")
            function.__module__ = source.__module__
            # The cache knows machine code by this name alone.
            function.__qualname__ = f"{source.__module__}.{source.__qualname__}{template.__name__}"
            is_ours = source.__module__.partition(".")[0] == __name__.partition(".")[0]
            signature = numba.types.void(numba.types.int64)
            is_cached = is_ours and named(step) is not None
            try:
                found = numba.cfunc(signature, cache=is_cached, error_model="numpy")(function)
            except numba.core.errors.NumbaError as error:
                raise TypeError(f"{source.__qualname__} cannot be compiled: {error}") from error
            _ENTRIES[template, step] = found
    address: int = found.address
    return address


def callback(function: Callable[[int], None]) -> int:
    """Return an address at which machine code can call a Python function of one int64; equal functions share one.

    It waits for the global lock. An error that the function raises is printed on stderr and goes no further.
    """
    with _COMPILING:
        found = _ENTRIES.get(function)
        if found is None:
            found = _ENTRIES[function] = ctypes.CFUNCTYPE(None, ctypes.c_int64)(function)
    return ctypes.cast(found, ctypes.c_void_p).value or 0


_PLAIN: dict[Any, Any] = {}


def plain(compiled: Callable[P, R]) -> Callable[P, R]:
    """Return the Python function of a kernel: the same arithmetic, faster than machine code for a handful of numbers.

    Entering machine code costs a fraction of a microsecond for each argument, so the kernels that it calls are plain as
    well. Both give the same bits.
    """
    found: Callable[P, R] | None = _PLAIN.get(compiled)
    if found is not None:
        return found
    source: Any = compiled.py_func  # type: ignore[attr-defined]
    known = source.__globals__
    names = {name: known[name] for name in source.__code__.co_names if name in known}
    callees = {name: plain(value) for name, value in names.items() if hasattr(value, "py_func")}
    around = {**names, **callees, "__builtins__": known["__builtins__"], "__name__": known["__name__"]}
    function: Callable[P, R] = FunctionType(source.__code__, around, source.__name__, source.__defaults__)
    _PLAIN[compiled] = function
    return function
