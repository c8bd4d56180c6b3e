import pytest

from cryptoquant.backtest.sandbox.meter import Meter


def test_a_window_opens_again_after_a_minute() -> None:
    moment = [1000.5]
    meter = Meter(2, lambda: moment[0])
    answers = [meter.count("a") for _ in range(3)]
    assert [allowed for allowed, _ in answers] == [True, True, False]
    assert [said["x-ratelimit-remaining"] for _, said in answers] == ["1", "0", "0"]
    assert {said["x-ratelimit-reset"] for _, said in answers} == {"1061"}
    assert meter.count("b")[0]
    moment[0] = 1060.5
    assert meter.count("a") == (
        True,
        {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1", "x-ratelimit-reset": "1121"},
    )
    with pytest.raises(ValueError, match="at least 1"):
        Meter(0)
