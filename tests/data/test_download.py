"""Downloads: what arrives is what the venue has, and a broken download goes on where it stopped."""

import pytest

from cryptoquant.data.download import download
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import AuthenticationError
from tests.data.history import history

BARS = SyntheticMarket(start="2024-01-15", days=60, timeframe="1h").bars()
PAIRS = ["BTC/USD", "ETH/USD"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_download_brings_the_venue_s_bars_and_a_second_one_asks_for_nothing(store):
    with history(BARS) as server:
        seen = []
        result = download(
            store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca(), progress=lambda *at: seen.append(at)
        )
        assert (result.rows, result.fetched, result.skipped) == (BARS.height, 6, 0)
        assert seen[-1] == (6, 6, "ETH/USD")
        assert store.bars(PAIRS, "1h").equals(BARS)
        asked = len(server.requests)
        again = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
        assert (again.rows, again.skipped) == (0, 6)
        assert len(server.requests) == asked


def test_a_month_that_was_not_complete_is_asked_again_from_its_last_row(store):
    with history(BARS) as server:
        source = server.alpaca()
        download(store, "BTC/USD", "1h", "2024-01-15", "2024-02-10", source=source)
        before = len(server.requests)
        result = download(store, "BTC/USD", "1h", "2024-01-15", "2024-02-12", source=source)
        assert (result.skipped, result.rows) == (1, 49)
        assert server.requests[before]["start"] == "2024-02-09T23:00:00Z"
        assert store.bars("BTC/USD", "1h").equals(BARS.head(28 * 24))


def test_an_earlier_start_fetches_what_was_missing(store):
    with history(BARS) as server:
        download(store, "BTC/USD", "1h", "2024-02-10", "2024-02-20", source=server.alpaca())
        download(store, "BTC/USD", "1h", "2024-02-05", "2024-02-20", source=server.alpaca())
        assert store.bars("BTC/USD", "1h").equals(BARS.slice(21 * 24, 15 * 24))


def test_a_failure_keeps_the_months_before_it_and_a_second_run_completes(store):
    with history(BARS) as server:
        server.refuse_after = 4
        with pytest.raises(AuthenticationError):
            download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
        assert store.symbols() == ["BTC/USD"]
        server.refuse_after = None
        result = download(store, PAIRS, "1h", "2024-01-15", "2024-03-15", source=server.alpaca())
        assert result.skipped in (2, 3)
        assert store.bars(PAIRS, "1h").equals(BARS)


def test_months_without_bars_are_counted_and_asked_again(store):
    with history(BARS) as server:
        result = download(store, "BTC/USD", "1h", "2023-11-01", "2024-01-20", source=server.alpaca())
        assert (result.empty, result.fetched, result.rows) == (2, 1, 120)


def test_a_bar_that_is_not_closed_at_the_end_is_left_out(store):
    with history(BARS) as server:
        download(store, "BTC/USD", "1h", "2024-01-15", "2024-01-16T05:59:00Z", source=server.alpaca())
        assert store.bars("BTC/USD", "1h").height == 29


def test_a_reversed_range_is_refused_before_anything_is_asked(store):
    with history(BARS) as server:
        with pytest.raises(ValueError, match="lies after"):
            download(store, "BTC/USD", "1h", "2024-02-01", "2024-01-01", source=server.alpaca())
        assert not server.requests
