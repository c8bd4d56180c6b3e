"""A bar where somebody watches, and nothing else where nobody does."""

from cryptoquant.performance.progress import bar


def test_nobody_is_shown_nothing(capsys):
    with bar("folds") as tell:
        tell(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_terminal_is_shown_how_far_it_is_and_how_long_it_takes(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with bar("folds") as tell:
        tell(1, 4)
        tell(4, 4, "the", "last")
    shown = capsys.readouterr().err
    assert "folds the last" in shown
    assert "4/4" in shown
    assert "0:00:00" in shown
