"""The book: the levels that a plain replay would leave, and nothing before the first reset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoquant.errors import DataError
from cryptoquant.market.book import Book, book_rows, book_updates
from cryptoquant.market.schema import BookUpdate, validate

levels = st.lists(st.tuples(st.integers(1, 12).map(float), st.integers(0, 3).map(float)), max_size=6).map(tuple)


@st.composite
def updates(draw: st.DrawFn) -> list[BookUpdate]:
    count = draw(st.integers(1, 8))
    return [
        BookUpdate("BTC/USD", 10 * n, 10 * n + 1, draw(levels), draw(levels), reset=n == 0 or draw(st.booleans()))
        for n in range(count)
    ]


@given(updates())
def test_a_book_holds_the_last_size_of_each_level_since_the_last_reset(changes):
    book = Book("BTC/USD")
    for change in changes:
        book.update(change)
    last_reset = max(index for index, change in enumerate(changes) if change.reset)
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for change in changes[last_reset:]:
        bids |= dict(change.bids)
        asks |= dict(change.asks)
    left_bids = sorted(((p, s) for p, s in bids.items() if s), reverse=True)
    left_asks = sorted((p, s) for p, s in asks.items() if s)
    assert book.depth(99) == (left_bids, left_asks)
    assert book.best_bid == (left_bids[0] if left_bids else None)
    assert book.best_ask == (left_asks[0] if left_asks else None)
    assert all(book.size_at("bid", price) == bids.get(price, 0.0) for price, _ in (*left_bids, *left_asks))
    assert all(book.size_at("ask", price) == asks.get(price, 0.0) for price, _ in (*left_bids, *left_asks))
    assert book.is_crossed == bool(left_bids and left_asks and left_bids[0][0] >= left_asks[0][0])


@given(updates())
def test_updates_survive_the_way_through_rows(changes):
    rows = book_rows(changes)
    validate(rows, "books")
    kept = [change for change in changes if change.reset or change.bids or change.asks]
    assert book_updates(rows) == kept


def test_before_the_first_reset_and_after_invalidation_a_book_is_not_ready():
    book = Book("BTC/USD")
    change = BookUpdate("BTC/USD", 1, 1, ((100.0, 1.0),), ((101.0, 1.0),))
    book.update(change)
    assert (book.is_ready, book.best_bid) == (False, None)
    book.update(BookUpdate("BTC/USD", 2, 2, (), (), reset=True))
    book.update(change)
    assert (book.is_ready, book.best_bid) == (True, (100.0, 1.0))
    book.invalidate()
    book.update(change)
    assert (book.is_ready, book.best_bid) == (False, None)


def test_an_update_of_another_symbol_is_refused():
    with pytest.raises(DataError, match=r"BTC/USD.*ETH/USD"):
        Book("BTC/USD").update(BookUpdate("ETH/USD", 1, 1, (), (), reset=True))
