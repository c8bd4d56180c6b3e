"""Tables of one's own: what is written is read, typed as it was, with what it was made from."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoquant.data.store import Store
from cryptoquant.errors import EmptyStoreError, SchemaError
from cryptoquant.market.time import to_datetime
from tests.data.rows import START

LINEAGE = {"inputs": ["bars 1m"], "code": "0.2", "parameters": {"window": 20}}
rows = st.lists(
    st.tuples(st.sampled_from(["BTC/USD", "ETH/USD"]), st.integers(0, 90), st.floats(allow_nan=False), st.booleans()),
    min_size=1,
    max_size=20,
)


def table(said) -> pl.DataFrame:
    stamps = [to_datetime(START + day * 86_400_000_000_000) for _, day, _, _ in said]
    columns = {
        "symbol": [r[0] for r in said],
        "time": stamps,
        "rsi": [r[2] for r in said],
        "is_up": [r[3] for r in said],
    }
    frame = pl.DataFrame(columns, schema_overrides={"time": pl.Datetime("ns", "UTC")})
    return frame.with_columns(count=pl.int_range(pl.len(), dtype=pl.Int32), name=pl.lit("é"))


@settings(max_examples=15)
@given(st.lists(rows, min_size=1, max_size=4), st.booleans())
def test_of_each_symbol_and_time_the_row_written_last_is_read(tmp_path_factory, batches, is_compacted):
    store = Store(tmp_path_factory.mktemp("store"))
    last = {}
    for batch in batches:
        frame = table(batch)
        assert store.write("rsi-20", frame, lineage=LINEAGE) == frame.height
        last |= {(row["symbol"], row["time"]): row for row in frame.iter_rows(named=True)}
    if is_compacted:
        store.compact()
        store.vacuum(timedelta(0))
    wanted = pl.DataFrame([last[key] for key in sorted(last)], schema=frame.schema)
    assert store.read("rsi-20").equals(wanted)
    assert store.symbols("rsi-20") == sorted({symbol for symbol, _ in last})
    assert store.lineage("rsi-20") == [LINEAGE]
    first = wanted.filter(pl.col("symbol") == wanted["symbol"][0])
    assert store.read("rsi-20", first["symbol"][0], first["time"][0], first["time"][0]).equals(first.head(1))


def test_a_column_known_of_ones_own_does_not_decide_which_row_was_written_last(tmp_path):
    store = Store(tmp_path)
    for known in (10, 5):
        store.write("features", table([("BTC/USD", 1, 1.0, True)]).with_columns(known=known), lineage=LINEAGE)
    for _ in range(2):
        assert store.read("features")["known"].to_list() == [5]
        store.compact()


def test_columns_may_be_added_and_lineages_are_told_in_order(tmp_path):
    store = Store(tmp_path)
    store.write("features", table([("BTC/USD", 1, 1.0, True)]), lineage={"version": 1})
    more = table([("BTC/USD", 2, 2.0, False)]).with_columns(macd=pl.lit(0.5))
    store.write("features", more, lineage={"version": 2})
    for _ in range(2):
        assert store.read("features")["macd"].to_list() == [None, 0.5]
        store.compact()
    assert store.lineage("features") == [{"version": 1}, {"version": 2}]
    assert store.lineage("other") == []
    with pytest.raises(EmptyStoreError, match="holds no other"):
        store.read("other")


def test_a_name_a_column_or_a_lineage_that_cannot_be_kept_is_refused(tmp_path):
    store, good = Store(tmp_path / "store"), table([("BTC/USD", 1, 1.0, True)])
    for name in ("bars", "gaps", "../up", "", "a/b"):
        with pytest.raises(SchemaError, match="table"):
            store.write(name, good, lineage=LINEAGE)
    naive = good.with_columns(time=pl.col("time").dt.replace_time_zone(None))
    odd = [good.drop("time"), naive, good.with_columns(x=pl.lit([1])), good.with_columns(rank=pl.lit(1)),
           good.with_columns(symbol=pl.lit(None, dtype=pl.String))]  # fmt: skip
    for frame in odd:
        with pytest.raises(SchemaError, match="table mine"):
            store.write("mine", frame, lineage=LINEAGE)
    with pytest.raises(SchemaError, match="JSON"):
        store.write("mine", good, lineage={"when": datetime(2024, 1, 1, tzinfo=UTC)})
    with pytest.raises(SchemaError, match="kind 'mine'"):
        store.write("mine", good)
    assert not store.root.exists()


def test_a_column_keeps_its_type_until_the_table_has_no_rows_any_more(tmp_path):
    store = Store(tmp_path)
    first = table([("BTC/USD", 1, 1.0, True)])
    store.write("features", first, lineage=LINEAGE)
    more = table([("ETH/USD", 2, 2.0, True)]).with_columns(macd=pl.lit(0.5))
    store.write("features", more, lineage=LINEAGE)
    store.compact()
    version = store.version
    for column, value, dtype in (("rsi", "1.0", "String, wanted Float64"), ("count", 1.5, "Float64, wanted Int32")):
        with pytest.raises(SchemaError, match=f"table features: column {column} is {dtype} as it is stored"):
            store.write("features", first.with_columns(pl.lit(value).alias(column)), lineage=LINEAGE)
    with pytest.raises(SchemaError, match="column macd is Int32, wanted Float64"):
        store.write("features", first.with_columns(macd=pl.lit(1, dtype=pl.Int32)), lineage=LINEAGE)
    assert store.version == version
    assert store.read("features").schema == more.schema
    assert store.lineage("features") == [LINEAGE]
    store.prune("features", timedelta(0), dry_run=False)
    store.write("features", first.with_columns(rsi=pl.lit("high")), lineage=LINEAGE)
    assert store.read("features")["rsi"].to_list() == ["high"]
