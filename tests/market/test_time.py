"""Instants and spans."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.market.time import from_iso, iso, span, span_ns, timeframe_name, to_datetime, to_ns


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_an_instant_is_written_and_read_without_loss(ns):
    assert from_iso(iso(ns)) == ns
    assert to_ns(to_datetime(ns)) == ns // 1000 * 1000


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-01-01", 1_704_067_200 * 10**9),
        ("2024-01-01T00:00:00Z", 1_704_067_200 * 10**9),
        ("2024-01-01T01:00:00+01:00", 1_704_067_200 * 10**9),
        (date(2024, 1, 1), 1_704_067_200 * 10**9),
        (datetime(2024, 1, 1, tzinfo=UTC), 1_704_067_200 * 10**9),
        (datetime(2023, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5))), 1_704_067_200 * 10**9),
        (17, 17),
    ],
)
def test_every_form_of_an_instant_is_understood(text, wanted):
    assert to_ns(text) == wanted


@pytest.mark.parametrize("text", ["2024-01-01T00:00:00", "yesterday", "2024-13-01", datetime(2024, 1, 1)])  # noqa: DTZ001
def test_naive_and_unreadable_instants_are_refused(text):
    with pytest.raises(ValueError, match=r"zone|cannot read"):
        to_ns(text)


def test_a_bool_is_no_instant():
    with pytest.raises(TypeError):
        to_ns(True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86400), ("5Min", 300), ("1Hour", 3600), ("2w", 1_209_600)],
)
def test_spans_are_read(text, seconds):
    assert span(text) == timedelta(seconds=seconds)
    assert span_ns(text) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "m", "5", "5y", "-5m", "0m", timedelta(0)])
def test_wrong_spans_are_refused(text):
    with pytest.raises(ValueError, match="timeframe"):
        span(text)


@given(st.integers(1, 10_000))
def test_a_timeframes_name_reads_back(seconds):
    assert span(timeframe_name(timedelta(seconds=seconds))) == timedelta(seconds=seconds)
