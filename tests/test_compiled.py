"""Machine code on disk: an edit of any kernel reaches every kernel that calls it."""

import ast
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cryptoquant import compiled
from cryptoquant.compiled import plain
from cryptoquant.trading.matching import settle, whole

CALLEE = "from pkg.compiled import kernel\n\n\n@kernel\ndef inner(x):\n    return x + {number}\n"
CALLER = """\
from pkg.callee import inner
from pkg.compiled import kernel


@kernel
def outer(x):
    return inner(x) + 1.0
"""


def made(folder: Path, **files: str) -> Path:
    """Return a package with our ``compiled.py`` and some files."""
    package = folder / "pkg"
    package.mkdir()
    shutil.copy(compiled.__file__, package / "compiled.py")
    for name, text in {"__init__": "", **files}.items():
        (package / f"{name}.py").write_text(text)
    return package


def printed(folder: Path, *arguments: str) -> list[float]:
    """Return the numbers that a fresh process prints, with a cache beside the package."""
    environment = {**os.environ, "CQ_CACHE": str(folder / "cache"), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return [float(number) for number in done.stdout.split()]


def outer(folder: Path) -> float:
    return printed(folder, "-c", "from pkg.caller import outer; print(outer(0.0))")[0]


def test_a_changed_callee_in_another_file_is_not_served_from_a_stale_cache(tmp_path):
    package = made(tmp_path, caller=CALLER, callee=CALLEE.format(number=10.0))
    assert outer(tmp_path) == 11.0
    assert outer(tmp_path) == 11.0
    (package / "callee.py").write_text(CALLEE.format(number=50.0))
    assert outer(tmp_path) == 51.0
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


ONE_STEP = "from pkg.compiled import borrowing\n\n\n@borrowing\ndef step(out):\n    out[0] = {number}\n"
DRIVER = """\
import numpy as np

from pkg import one, two
from pkg.compiled import address_of, borrowing, call, entry, floats_at


def template(frame):
    STEP(floats_at(frame, 1))


@borrowing
def driver(entry, out):
    call(entry, address_of(out))


def numbers():
    out = np.zeros(1)
    for step in (one.step, two.step):
        driver(entry(template, step), out)
        yield float(out[0])


print(*numbers())
"""


def test_steps_of_one_name_in_two_files_are_kept_apart_on_disk(tmp_path):
    package = made(tmp_path, driver=DRIVER, two=ONE_STEP.format(number=2.0))
    for number in (1.0, 1.0, 5.0):
        (package / "one.py").write_text(ONE_STEP.format(number=number))
        assert printed(tmp_path, "-m", "pkg.driver") == [number, 2.0]


def marked(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "\n@kernel\n" in text or "\n@borrowing\n" in text


def test_the_salt_covers_every_file_that_holds_a_kernel():
    holders = {path for path in compiled.PACKAGE.rglob("*.py") if marked(path)}
    assert holders
    assert holders <= set(compiled.kernel_sources())


def test_a_cache_folder_that_cannot_be_made_is_replaced_by_a_temporary_one(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("CQ_CACHE", str(blocked))
    compiled.cache_folder.cache_clear()
    try:
        assert compiled.cache_folder().is_dir()
    finally:
        compiled.cache_folder.cache_clear()


def test_a_changed_constant_in_a_file_without_kernels_is_not_served_from_a_stale_cache(tmp_path):
    callee = "from pkg.amounts import AMOUNT\n" + CALLEE.format(number="AMOUNT")
    package = made(tmp_path, caller=CALLER, callee=callee)
    for amount in (10.0, 50.0):
        (package / "amounts.py").write_text(f"AMOUNT = {amount}\n")
        assert outer(tmp_path) == amount + 1.0


def borrowers() -> list[tuple[Path, ast.FunctionDef]]:
    found = []
    for path in compiled.kernel_sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and "borrowing" in [ast.unparse(it) for it in node.decorator_list]:
                found += [(path, node)]
    return found


def returned(node: ast.FunctionDef) -> set[str]:
    return set(ast.unparse(node.returns).removeprefix("tuple[").removesuffix("]").split(", "))


def compiles(node):
    return {"kernel", "borrowing"} & {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}


def test_a_kernel_that_borrows_returns_no_array_nor_calls_one_that_does():
    numbers = {"None", "int", "float", "bool", "Deal"}
    nodes = [node for path in compiled.kernel_sources() for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    kernels = [node for node in nodes if isinstance(node, ast.FunctionDef) and compiles(node)]
    makers = {node.name for node in kernels if not returned(node) <= numbers}
    assert "with_room" in makers
    assert len(borrowers()) > 30
    for path, node in borrowers():
        assert returned(node) <= numbers, f"{path.name}: {node.name} returns {returned(node)}"
        called = {it.func.id for it in ast.walk(node) if isinstance(it, ast.Call) and isinstance(it.func, ast.Name)}
        assert not called & makers, f"{path.name}: {node.name} calls {called & makers}"


def test_a_kernel_that_borrows_may_not_make_an_array():
    def maker(count: int) -> float:
        return np.ones(count).sum()

    with pytest.raises(Exception, match=r"array|NRT"):
        compiled.borrowing(maker)(3)


def test_the_plain_form_of_a_kernel_is_plain_all_the_way_down():
    def names(function):
        return [name for name in function.__code__.co_names if hasattr(function.__globals__.get(name), "py_func")]

    assert names(settle.py_func)
    assert names(plain(settle)) == []
    assert plain(settle) is plain(settle)
    terms = (1.0, 2.5, 3.0, 0.01, 1.0, 1.0, True, False)
    assert plain(settle)(*terms) == settle(*terms)
    for number in (0.0, 0.3, 7.9, 2.0**52 - 0.5, 2.0**52, 1e300, -1e300, -2.5, float("inf"), -float("inf")):
        assert plain(whole)(number) == whole(number)


@compiled.borrowing
def doubling(numbers, out):
    for place in range(len(numbers)):
        out[place] = 2.0 * numbers[place]


@compiled.borrowing
def counting(numbers, out):
    for place in range(len(numbers)):
        out[place] = place


def step_entry(frame):
    given = compiled.integers_at(frame, 3)
    STEP(compiled.floats_at(given[0], given[2]), compiled.floats_at(given[1], given[2]))


STEP = None


@compiled.borrowing
def driver(entry, frame):
    compiled.call(entry, compiled.address_of(frame))


def test_a_driver_calls_steps_that_it_does_not_know():
    numbers, out = np.array([1.5, -2.0, 4.0]), np.zeros(3)
    frame = np.array([numbers.ctypes.data, out.ctypes.data, 3], dtype=np.int64)
    entries = [compiled.entry(step_entry, step) for step in (doubling, counting)]
    assert entries[0] != entries[1]
    assert entries[0] == compiled.entry(step_entry, doubling)
    driver(entries[0], frame)
    assert out.tolist() == [3.0, -4.0, 8.0]
    driver(entries[1], frame)
    assert out.tolist() == [0.0, 1.0, 2.0]
    assert len(driver.signatures) == 1


@compiled.borrowing
def multiplied_and_added(x, y, z):
    return compiled.fused(x, y, z)


def test_a_fused_product_and_sum_is_rounded_once():
    x, y, z = 1.0 + 2.0**-30, 1.0 - 2.0**-30, -1.0
    assert x * y + z == 0.0
    assert multiplied_and_added(x, y, z) == -(2.0**-60)
    for row in np.random.default_rng(1).standard_normal((200, 3)):
        exact = Fraction(row[0]) * Fraction(row[1]) + Fraction(row[2])
        assert multiplied_and_added(*row) == float(exact)


@compiled.kernel
def in_lanes(x, y, out):
    a, b = compiled.lanes_at(x, 0), compiled.lanes_at(y, 1)
    compiled.put_lanes(out, 0, compiled.times(a, b))
    compiled.put_lanes(out, 16, compiled.divided(a, b))
    compiled.put_lanes(out, 32, compiled.bounded(a, compiled.spread(LOW), compiled.spread(HIGH)))
    compiled.put_lanes(out, 48, compiled.fused(a, b, compiled.spread(HIGH)))


LOW, HIGH = np.float32(-0.5), np.float32(0.75)


def test_lanes_give_each_number_the_bits_that_it_would_have_alone():
    rng = np.random.default_rng(3)
    for _ in range(50):
        x, y = rng.standard_normal((2, 17)).astype(np.float32)
        x[3], out = np.nan, np.zeros(64, dtype=np.float32)
        in_lanes(x, y, out)
        a, b = x[:16], y[1:]
        assert np.array_equal(out[:16], a * b, equal_nan=True)
        assert np.array_equal(out[16:32], a / b, equal_nan=True)
        assert np.array_equal(out[32:48], np.clip(a, LOW, HIGH), equal_nan=True)
        known = ~np.isnan(a)
        products = a[known].astype(np.float64) * b[known]  # exact: 24 bits times 24 bits
        assert np.array_equal(out[48:][known], (products + 0.75).astype(np.float32))
