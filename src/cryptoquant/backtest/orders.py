"""Orders as a table: what to send and at which close, as columns for the compiled loop or as objects for the engine."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cryptoquant.backtest.desk import (
    ARRIVES,
    COLUMNS,
    DECIDED,
    EXPIRES,
    FRESH,
    GROUP,
    KIND,
    LEFT,
    LIFE,
    LIMIT_AT,
    LOTS,
    REDUCES,
    REPLACES,
    SIGN,
    SOURCE,
    STOP_AT,
    STOP_LOSS,
    STOP_PRICE,
    SYMBOL,
    TAKE_PROFIT,
    TARGET_PRICE,
    TRAIL,
    TRAILING_STOP,
)
from cryptoquant.errors import DataError, SchemaError
from cryptoquant.market.schema import to_polars
from cryptoquant.market.slice import Panel
from cryptoquant.trading.matching import KINDS, LIVES
from cryptoquant.trading.order import Cancel, Order, Protection, client_order_id
from cryptoquant.trading.venue import Venue

Floats = NDArray[np.float64]
PRICES = {
    "limit": LIMIT_AT,
    "stop": STOP_AT,
    "trail": TRAIL,
    "stop_loss": STOP_LOSS,
    "take_profit": TAKE_PROFIT,
    "trailing": TRAILING_STOP,
    "stop_price": STOP_PRICE,
    "target_price": TARGET_PRICE,
}
WANTED = ("time", "symbol", "side", "quantity")
FEW = 10_000
OPTIONAL = ("id", "type", "time_in_force", "expires", "group", "reduces", "replaces", *PRICES)
NEEDS = {"limit": ("limit",), "stop": ("stop",), "stop_limit": ("limit", "stop"), "trailing_stop": ("trail",)}


class Orders:
    """Orders that are known beforehand, in the order of their decision.

    Attributes
    ----------
    rows
        Shape (orders, columns of the desk).
    profile
        The ledger that pays.
    """

    __slots__ = ("_made", "_names", "_panel", "profile", "rows")

    def __init__(self, rows: Floats, names: Sequence[str], panel: Panel, profile: str) -> None:
        self.rows = rows
        self._names = names
        self._panel = panel
        self.profile = profile
        self._made: list[Order | Cancel] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def needs_range(self) -> bool:
        """Whether any of them may fill within a bar, so that highs and lows count."""
        return bool((self.rows[:, KIND] > 0).any() or np.isfinite(self.rows[:, STOP_LOSS : TARGET_PRICE + 1]).any())

    @classmethod
    def from_frame(cls, frame: Any, panel: Panel, venue: Venue, profile: str = "main") -> "Orders":
        """Return the orders of a frame.

        Parameters
        ----------
        frame
            Columns time (the close at which it is decided), symbol, side and quantity (in coins), and where they apply
            id, type, limit, stop, trail, time_in_force, expires, group, reduces, replaces, stop_loss, take_profit,
            trailing, stop_price and target_price, as in ``Order`` and ``Protection``. A row of type ``cancel`` asks for
            the end of the order that it names in ``replaces``.

        Raises
        ------
        SchemaError
            A column is missing or unknown, a value is impossible, a time is naive or no close of the market, a quantity
            is no multiple of the increment, or an order replaces one that is not before it. Rows are counted in the
            order of their times, one without a time in the given order.
        DataError
            A symbol is not in the market.
        """
        table = to_polars(frame)
        absent = [name for name in WANTED if name not in table.columns]
        strange = [name for name in table.columns if name not in WANTED + OPTIONAL]
        if absent or strange:
            what = f"missing column {', '.join(absent)}" if absent else f"unknown column {', '.join(strange)}"
            raise SchemaError(f"orders: {what}; columns are {', '.join(WANTED)}, and optionally {', '.join(OPTIONAL)}")
        times = moments(table, "time", "orders")
        if (times[1:] < times[:-1]).any():
            table, times = table.sort("time", maintain_order=True), np.sort(times)
        rows = np.full((table.height, COLUMNS), 0.0)
        rows[:, LIMIT_AT : TRAIL + 1] = rows[:, STOP_LOSS : TARGET_PRICE + 1] = np.nan
        rows[:, [REPLACES, SOURCE, FRESH]] = -1.0
        rows[:, DECIDED] = _rows_of(times, panel)
        rows[:, SYMBOL] = _places(table["symbol"], panel)
        if "type" in table.columns:
            rows[:, KIND] = _codes(_filled(table["type"], "market"), ("cancel", *KINDS), "type") - 1.0
        rows[:, SIGN] = 1.0 - 2.0 * _codes(table["side"], ("buy", "sell"), "side")
        if "time_in_force" in table.columns:
            rows[:, LIFE] = _codes(_filled(table["time_in_force"], "gtc"), LIVES, "time_in_force")
        for name, column in PRICES.items():
            if name in table.columns:
                rows[:, column] = table[name].cast(pl.Float64).to_numpy()  # null as NaN
        if "reduces" in table.columns:
            rows[:, REDUCES] = table["reduces"].fill_null(False).cast(pl.Float64).to_numpy()
        if "group" in table.columns:
            groups = table["group"].cast(pl.String).fill_null("")
            mixed = (
                table.filter(groups != "")
                .group_by("group")
                .agg(pl.col("symbol").n_unique())
                .filter(pl.col("symbol") > 1)
            )
            if mixed.height:
                raise SchemaError(f"orders: group {mixed['group'].item(0)!r} holds several symbols, wanted one")
            rows[:, GROUP] = np.where(groups == "", 0.0, groups.rank("dense").cast(pl.Float64).to_numpy())
        rows[:, LOTS] = rows[:, LEFT] = _lots(table["quantity"].cast(pl.Float64).to_numpy(), rows, panel, venue)
        _set_lives(rows, table, times, panel, venue)
        names = _names_of(table, times, profile)
        if "replaces" in table.columns:
            rows[:, REPLACES] = _replaced(table["replaces"].cast(pl.String).fill_null(""), names)
        if not {"type", "replaces", *PRICES}.isdisjoint(table.columns):
            _check(rows, panel)
        return cls(rows, names, panel, profile)

    @classmethod
    def of(cls, orders: Sequence[Order], panel: Panel, venue: Venue) -> "Orders":
        """Return a table of orders; ``Order.time`` is the close at which each is decided. Errors as ``from_frame``."""
        if not orders:
            return cls(np.empty((0, COLUMNS)), (), panel, "main")
        for place, order in enumerate(orders):
            if not isinstance(order, Order):
                found = type(order).__name__
                raise TypeError(f"orders: place {place}: wanted an Order, found {found}; a cancel is a row of a frame")
        profile, *others = sorted({order.profile for order in orders}) or ["main"]
        if others:
            raise SchemaError(f"orders: profiles {profile} and {others[0]} in one list, wanted one")
        lot = {symbol: venue.instrument(symbol).lot for symbol in {order.symbol for order in orders}}
        rows = []
        for order in orders:
            guard = order.protection or Protection()
            rows.append(
                {
                    "time": order.time,
                    "symbol": order.symbol,
                    "side": order.side,
                    "quantity": order.lots * lot[order.symbol],
                    "id": order.id,
                    "type": order.type,
                    "time_in_force": order.time_in_force,
                    "expires": order.expires or None,
                    "group": order.group,
                    "reduces": order.reduces,
                    "replaces": order.replaces,
                    "limit": order.limit_price,
                    "stop": order.stop_price,
                    "trail": order.trail,
                    "stop_loss": guard.stop_loss,
                    "take_profit": guard.take_profit,
                    "trailing": guard.trailing,
                    "stop_price": guard.stop_price,
                    "target_price": guard.target_price,
                }
            )
        schema = dict.fromkeys(("quantity", *PRICES), pl.Float64) | {"expires": pl.Int64, "time": pl.Int64}
        frame = pl.DataFrame(rows, schema_overrides=schema).with_columns(
            *(pl.from_epoch(name, "ns").dt.replace_time_zone("UTC") for name in ("time", "expires"))
        )
        table = cls.from_frame(frame, panel, venue, profile)
        lots = np.array([order.lots for order in sorted(orders, key=lambda order: order.time)])
        table.rows[:, LOTS] = table.rows[:, LEFT] = lots
        return table

    def name(self, place: int) -> str:
        """Return the id of an order."""
        return self._names[place]

    @property
    def facts(self) -> list[Order | Cancel]:
        """The same as objects, made when they are first asked for."""
        if self._made is None:
            self._made = [self._fact(place) for place in range(len(self))]
        return self._made

    def _fact(self, place: int) -> Order | Cancel:
        row, panel = self.rows[place], self._panel
        symbol, time = panel.symbols[int(row[SYMBOL])], int(panel.times[int(row[DECIDED])])
        replaced = self._names[int(row[REPLACES])] if row[REPLACES] >= 0 else ""
        if row[KIND] < 0:
            return Cancel(replaced, self.profile, symbol, time)
        numbers = {name: None if np.isnan(row[column]) else float(row[column]) for name, column in PRICES.items()}
        exits = {name: numbers[name] for name in list(PRICES)[3:] if numbers[name] is not None}
        return Order(
            self._names[place],
            self.profile,
            symbol,
            "buy" if row[SIGN] > 0 else "sell",
            float(row[LOTS]),
            time,
            KINDS[int(row[KIND])],  # type: ignore[arg-type]
            LIVES[int(row[LIFE])],  # type: ignore[arg-type]
            limit_price=numbers["limit"],
            stop_price=numbers["stop"],
            trail=numbers["trail"],
            expires=0 if np.isinf(row[EXPIRES]) else self._expiry(int(row[EXPIRES])),
            group=f"g{row[GROUP]:.0f}" if row[GROUP] else "",
            reduces=bool(row[REDUCES]),
            protection=Protection(**exits) if exits else None,
            replaces=replaced,
        )

    def _expiry(self, row: int) -> int:
        """Return a moment at which the bars of a row, and those before it no longer, have expired."""
        times, width = self._panel.times, self._panel.width
        return int(times[row]) - width if row < len(times) else int(times[-1]) + width


def _rows_of(times: NDArray[np.int64], panel: Panel) -> NDArray[np.int64]:
    rows = first_at(panel, times)
    known = (rows < len(panel)) & (panel.times[np.minimum(rows, len(panel) - 1)] == times)
    if not known.all():
        stamp = pl.from_epoch(pl.Series([int(times[int(np.argmin(known))])]), "ns").item()
        raise SchemaError(f"orders: no slice closes at {stamp} UTC; an order is decided at a close of the market")
    return rows


def first_at(panel: Panel, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row that closes at each time or later, the length for none; on a regular clock without a search.

    A search through millions of closes waits for memory twenty times, a look at two neighbours once.
    """
    closes, pace = panel.times, panel.pace
    if len(times) and pace > 0.0:
        rows: NDArray[np.int64] = np.clip(-((closes[0] - times) // int(pace)), 0, len(closes))
        is_early = (rows == 0) | (closes[rows - 1] < times)
        if is_early.all() and ((rows == len(closes)) | (closes[np.minimum(rows, len(closes) - 1)] >= times)).all():
            return rows
    return np.searchsorted(closes, times)


def _places(symbols: pl.Series, panel: Panel) -> NDArray[np.int64]:
    try:
        return _coded(symbols, panel.symbols)
    except pl.exceptions.PolarsError:
        strangers = sorted(map(str, set(symbols.unique()) - set(panel.symbols)))
        raise DataError(f"orders: {', '.join(strangers)} not in the market ({', '.join(panel.symbols)})") from None


def _codes(words: pl.Series, known: Sequence[str], name: str) -> NDArray[np.int64]:
    try:
        return _coded(words, known)
    except pl.exceptions.PolarsError:
        found = ", ".join(sorted(map(str, set(words.unique()) - set(known))))
        raise SchemaError(f"orders: {name} must be one of {', '.join(known)}, found {found}") from None


def _filled(words: pl.Series, default: str) -> pl.Series:
    return words.fill_null(default) if words.null_count() else words


@lru_cache(maxsize=64)
def _enum(known: tuple[str, ...]) -> pl.Enum:
    return pl.Enum(known)


def _coded(words: pl.Series, known: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each word among the known ones; polars raises for a stranger."""
    names = words.cast(pl.String)
    if names.null_count():
        raise pl.exceptions.InvalidOperationError("a word is null")
    if len(names) <= FEW:  # for so many a polars expression costs more than the work
        code, said = {word: place for place, word in enumerate(known)}, names.to_list()
        if code.keys() >= set(said):
            return np.array([code[word] for word in said], dtype=np.int64)
    return names.cast(_enum(tuple(known))).to_physical().to_numpy()


def _lots(quantity: Floats, rows: Floats, panel: Panel, venue: Venue) -> Floats:
    places = rows[:, SYMBOL].astype(np.int64)
    lot = np.array([venue.instrument(symbol).lot for symbol in panel.symbols])[places]
    wrong = ~((quantity > 0) & (quantity < np.inf)) & (rows[:, KIND] >= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SchemaError(f"orders: row {row}: quantity must be above zero and finite, found {quantity[row]}")
    lots: Floats = quantity / lot
    if not venue.is_continuous:
        exact = np.round(lots)
        wrong = ((np.abs(lots - exact) > 1e-6 + 1e-14 * exact) | (exact < 1.0)) & (rows[:, KIND] >= 0)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise SchemaError(
                f"orders: row {row}: quantity {quantity[row]} is not a multiple of {lot[row]} "
                f"({panel.symbols[places[row]]})"
            )
        lots = exact
    return lots


def _set_lives(rows: Floats, table: pl.DataFrame, times: NDArray[np.int64], panel: Panel, venue: Venue) -> None:
    """Set the rows from which on an order has expired, and in which a request to end another is heard."""
    rows[:, EXPIRES] = np.inf
    if "replaces" in table.columns:
        rows[:, ARRIVES] = np.searchsorted(panel.times, times + venue.latency_ns + panel.width)
    if "expires" in table.columns:
        given = table.drop_nulls("expires") if table["expires"].null_count() else table
        if given.height:
            until = first_at(panel, moments(given, "expires", "orders") + panel.width)
            rows[table["expires"].is_not_null().to_numpy() if given is not table else slice(None), EXPIRES] = until
    wrong = (rows[:, LIFE] == LIVES.index("gtt")) & np.isinf(rows[:, EXPIRES])
    if wrong.any():
        raise SchemaError(f"orders: row {int(np.argmax(wrong))}: time_in_force gtt needs expires")


def _names_of(table: pl.DataFrame, times: NDArray[np.int64], profile: str) -> Sequence[str]:
    if "id" in table.columns:
        if table["id"].null_count():
            raise SchemaError(f"orders: row {int(table['id'].is_null().arg_max() or 0)}: id is null, wanted a name")
        names: list[str] = table["id"].cast(pl.String).to_list()
        if len(set(names)) < len(names):
            raise SchemaError(f"orders: id {table['id'].filter(table['id'].is_duplicated()).item(0)!r} is given twice")
        return names
    return _Numbered(table["symbol"], times, profile)


class _Numbered(Sequence[str]):
    """Ids by symbol and decision time, numbered within both; each is made when it is asked for."""

    def __init__(self, symbols: pl.Series, times: NDArray[np.int64], profile: str) -> None:
        self._symbols, self._times, self._profile = symbols, times, profile
        self._legs: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, place: Any) -> Any:
        if self._legs is None:
            both = pl.DataFrame({"symbol": self._symbols, "time": self._times})
            self._legs = both.select(pl.int_range(pl.len()).over("symbol", "time")).to_series().to_numpy()
        return client_order_id(self._profile, self._symbols[place], int(self._times[place]), int(self._legs[place]))


def _replaced(wanted: pl.Series, names: Sequence[str]) -> Floats:
    places = {name: float(place) for place, name in enumerate(names)}
    strange = sorted(set(wanted.unique()) - set(places) - {""})
    if strange:
        raise SchemaError(f"orders: replaces names {', '.join(strange)}, which is no id of this table")
    return np.array([places.get(name, -1.0) for name in wanted])


def _check(rows: Floats, panel: Panel) -> None:
    """Refuse an order that lacks what its type needs, or has an impossible price."""
    for kind, names in NEEDS.items():
        for name in names:
            wrong = (rows[:, KIND] == KINDS.index(kind)) & ~(rows[:, PRICES[name]] > 0)
            if wrong.any():
                row = int(np.argmax(wrong))
                symbol = panel.symbols[int(rows[row, SYMBOL])]
                raise SchemaError(f"orders: row {row}: a {kind} order of {symbol} needs {name} above zero")
    wrong = (rows[:, KIND] < 0) & (rows[:, REPLACES] < 0)
    if wrong.any():
        raise SchemaError(f"orders: row {int(np.argmax(wrong))}: a cancel names an order in replaces")
    places = np.arange(len(rows))
    wrong = rows[:, REPLACES] >= places
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SchemaError(f"orders: row {row} replaces row {rows[row, REPLACES]:.0f}, wanted one that comes before it")
    asked = rows[:, [LIMIT_AT, STOP_AT]]
    wrong = (asked <= 0).any(axis=1) | np.isinf(asked).any(axis=1) & (rows[:, KIND] >= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        found = f"limit {rows[row, LIMIT_AT]}, stop {rows[row, STOP_AT]}"
        raise SchemaError(f"orders: row {row}: a price must be above zero and finite, found {found}")
    wrong = (rows[:, TRAIL] <= 0) | (rows[:, TRAIL] >= 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise SchemaError(f"orders: row {row}: trail must lie between 0 and 1, found {rows[row, TRAIL]}")
    exits = rows[:, STOP_LOSS : TARGET_PRICE + 1]
    for fraction, price in ((STOP_LOSS, STOP_PRICE), (TAKE_PROFIT, TARGET_PRICE)):
        wrong = ~np.isnan(rows[:, fraction]) & ~np.isnan(rows[:, price])
        if wrong.any():
            one, two = (next(name for name, at in PRICES.items() if at == column) for column in (fraction, price))
            raise SchemaError(f"orders: row {int(np.argmax(wrong))}: {one} and {two} say the same thing: give one")
    wrong = (exits <= 0).any(axis=1) | np.isinf(exits).any(axis=1) | (exits[:, [0, 2]] >= 1).any(axis=1)
    if wrong.any():
        raise SchemaError(f"orders: row {int(np.argmax(wrong))}: an exit is a fraction or a price above zero")


def moments(table: pl.DataFrame, name: str, what: str) -> NDArray[np.int64]:
    """Return a column of instants as nanoseconds UTC.

    Raises
    ------
    SchemaError
        It is no datetime, is naive, or a value is null.
    """
    column = table[name]
    found = column.dtype
    if not isinstance(found, pl.Datetime):
        raise SchemaError(f"{what}: column {name} is {found}, wanted instants with a zone")
    if found.time_zone is None:
        raise SchemaError(f"{what}: column {name} is a naive datetime; give it a zone, for example UTC")
    if column.null_count():
        raise SchemaError(f"{what}: column {name} is null in row {int(column.is_null().arg_max() or 0)}")
    return column.cast(pl.Datetime("ns", found.time_zone)).cast(pl.Int64).to_numpy()
