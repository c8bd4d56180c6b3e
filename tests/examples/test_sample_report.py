"""The committed sample report is small, whole, and what its script writes."""

import subprocess
import sys

import pytest

from tests.examples.notebook_cells import ROOT

PAGE = ROOT / "docs" / "sample_report.html"
MOST_BYTES = 600_000


def test_the_sample_is_small_needs_nothing_from_outside_and_shows_every_picture_of_a_study():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert "://" not in text
    assert "<script" not in text
    for part in ("equity", "rolling-sharpe", "evidence", "prices", "folds", "exposure", "trades", "costs"):
        assert f'<section id="{part}">' in text


@pytest.mark.deep
def test_the_script_writes_the_same_page_twice(tmp_path):
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        subprocess.run([sys.executable, ROOT / "examples" / "report.py", page], check=True, capture_output=True)
    assert pages[0].read_bytes() == pages[1].read_bytes()
