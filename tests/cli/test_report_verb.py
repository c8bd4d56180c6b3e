"""The verb ``report`` shows a saved report again as it shows a journal."""

import json

import pytest

from cryptoquant.performance.page import page_text
from tests.cli.test_verbs import call
from tests.performance.reports import report_over


def test_a_saved_report_is_shown_again_with_the_same_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = report_over(900, trades=40, name="kept")
    report.save("run.cqr")
    code, said, _ = call("report", "run.cqr", "--html", "page.html")
    assert code == 0
    assert "kept" in said
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page_text(report)
    code, said, _ = call("report", "run.cqr", "--json")
    assert code == 0
    assert json.loads(said)["fills"] == 40


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("absent.cqr",), "absent.cqr: no such file"),
        (("page.html",), "page.html: no saved report"),
        (("page.html", "--journal", "j.sqlite"), "give one"),
        (("other.sqlite",), "other.sqlite is not a journal"),
    ],
)
def test_a_file_that_is_neither_is_one_line(tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "other.sqlite").write_bytes(b"SQLite format 3\x00 and no more")
    code, _, said = call("report", *arguments)
    assert code == 1
    (line,) = said.strip().splitlines()
    assert line.startswith("error: ")
    assert text in line
