"""Machine code on disk: an edit of any kernel reaches every kernel that calls it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cryptoquant import compiled

CALLEE = "from pkg.compiled import kernel\n\n\n@kernel\ndef inner(x):\n    return x + {number}\n"
CALLER = """\
from pkg.callee import inner
from pkg.compiled import kernel


@kernel
def outer(x):
    return inner(x) + 1.0
"""


def outer(folder: Path) -> float:
    code = "from pkg.caller import outer; print(outer(0.0))"
    environment = {**os.environ, "CQ_CACHE": str(folder / "cache"), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_a_changed_callee_in_another_file_is_not_served_from_a_stale_cache(tmp_path):
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(compiled.__file__, package / "compiled.py")
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE.format(number=10.0))
    assert outer(tmp_path) == 11.0
    assert outer(tmp_path) == 11.0
    (package / "callee.py").write_text(CALLEE.format(number=50.0))
    assert outer(tmp_path) == 51.0
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 2


def test_the_salt_covers_every_file_that_holds_a_kernel():
    holders = {path for path in compiled.PACKAGE.rglob("*.py") if "\n@kernel\n" in path.read_text(encoding="utf-8")}
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
