"""A set of features: computed over history, over a panel, or online, always by the same compiled steps."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.entries import digest_of
from cryptoquant.features.feature import Feature, whole
from cryptoquant.features.gate import check_features
from cryptoquant.features.history import run_panels, run_symbols, seconds_of
from cryptoquant.features.kernel import Integers, source_digest
from cryptoquant.features.normalised import normalised
from cryptoquant.features.online import OnlineFeatures
from cryptoquant.features.program import Program
from cryptoquant.features.quality import FeatureQuality, measure_quality
from cryptoquant.features.tick_feature import TickFeature
from cryptoquant.features.tick_program import programs_of
from cryptoquant.features.ticks import Ticks
from cryptoquant.features.timeframes import LongerBars, take_all
from cryptoquant.market.schema import BARS, check_bars, validate
from cryptoquant.market.slice import Floats, Panel
from cryptoquant.market.time import Timeframe, span_ns

AnyFeature = Feature | LongerBars | TickFeature
NEVER = np.iinfo(np.int64).min
RESERVED = {*BARS, "label", "label_return", "label_known", "row"} - {"trade_count", "vwap"}


class FeatureSet:
    """Features in a fixed order.

    Parameters
    ----------
    features
        At least one feature; no two may write the same column.

    Raises
    ------
    ValueError
        There is no feature, or a column is written twice.
    TypeError
        An item is no Feature.

    Examples
    --------
    >>> from cryptoquant import features as f
    >>> FeatureSet([f.rsi(14), f.hour_of_day()]).names
    ('rsi_14', 'hour_of_day_sin', 'hour_of_day_cos')
    """

    __slots__ = ("features", "fingerprint", "names")

    features: tuple[AnyFeature, ...]
    names: tuple[str, ...]
    fingerprint: str

    def __init__(self, features: Iterable[AnyFeature]) -> None:
        self.features = tuple(features)
        for feature in self.features:
            if not isinstance(feature, Feature | LongerBars | TickFeature):
                raise TypeError(f"a feature set holds features such as rsi(14), found {type(feature).__name__}")
        self.names = tuple(name for feature in self.features for name in feature.outputs)
        taken = sorted(RESERVED.intersection(self.names))
        if taken:
            raise ValueError(f"feature set: column {', '.join(taken)} is the name of something else in its tables")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice or not self.names:
            raise ValueError(f"feature set: {'duplicate column ' + ', '.join(twice) if twice else 'no feature given'}")
        self.fingerprint = _fingerprint(self.features)

    def __repr__(self) -> str:
        return f"FeatureSet({', '.join(self.names)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSet) and self.features == other.features

    def __hash__(self) -> int:
        return hash(self.features)

    @property
    def lookback(self) -> int:
        """The index of a symbol's first bar at which all features have values.

        Raises
        ------
        ValueError
            There are features of a longer timeframe: ask ``needed``.
        """
        return self._needed(None)[0]

    @property
    def warm_up(self) -> int:
        """Bars per symbol after which the start no longer matters for any feature; errors as for ``lookback``."""
        return self._needed(None)[1]

    def needed(self, timeframe: Timeframe) -> tuple[int, int]:
        """Return lookback and warm-up in bars of a timeframe; features of ticks need none.

        Raises
        ------
        ValueError
            Such bars do not make up those of a longer timeframe in the set.
        """
        return self._needed(span_ns(timeframe))

    def _needed(self, width: int | None) -> tuple[int, int]:
        lookback, warm_up = 0, 1
        for feature in self.features:
            if isinstance(feature, LongerBars):
                if width is None:
                    raise ValueError(f"{feature.outputs[0]}: how many bars it needs depends on them; ask needed('5m')")
                least, most = feature.needed(width)
            else:
                least, most = (feature.lookback, feature.warm_up) if isinstance(feature, Feature) else (0, 1)
            lookback, warm_up = max(lookback, least), max(warm_up, most)
        return lookback, warm_up

    @property
    def reads_ticks(self) -> bool:
        """Whether a feature reads trades, quotes or books."""
        return any(isinstance(feature, TickFeature) for feature in self.features)

    def to_dict(self) -> dict[str, Any]:
        """Return the set as plain JSON values."""
        return {"features": [feature.to_dict() for feature in self.features]}

    @classmethod
    def from_dict(
        cls, saved: dict[str, Any], constructors: Mapping[str, Callable[..., Feature]] = CONSTRUCTORS
    ) -> "FeatureSet":
        """Return the set that ``to_dict`` described.

        Parameters
        ----------
        constructors
            By name; add your own to read a set that holds their features.

        Raises
        ------
        ValueError
            The description names an unknown feature, wrong parameters or another version.
        """
        try:
            rows = [(row["name"], dict(row["parameters"]), row["version"]) for row in saved["features"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"feature set: unreadable description ({type(error).__name__}: {error})") from error
        return cls(_rebuild(constructors, *row) for row in rows)

    def compute(self, bars: Any, ticks: Ticks | None = None, *, threads: int = 1) -> pl.DataFrame:
        """Return the features of a frame of bars.

        Parameters
        ----------
        bars
            Schema ``bars``, polars or pandas, in time order within each symbol; of one timeframe if there are features
            of the panel, of a longer timeframe or of ticks.
        ticks
            Trades, quotes and books, for the features that read them; a bar sees what was known when its slice was.
        threads
            How many symbols, or features of one, are computed at the same time; the numbers do not depend on it.

        Returns
        -------
        polars.DataFrame
            ``symbol``, ``time``, ``known`` and one float64 column per name, rows in the order of ``bars``; NaN where a
            feature is not yet defined. With features of the panel, of a longer timeframe or of ticks, a row is known
            when its slice is.

        Raises
        ------
        SchemaError
            The bars lack a column, are impossible, out of order or doubled.
        DataError
            A feature reads ticks that are not given, or bars do not make up those of a longer timeframe.
        """
        frame, count = validate(bars, "bars"), whole("features", "threads", threads)
        panel = Panel.from_frame(frame) if frame.height and self._by_slices else None
        if panel is None:
            check_bars(frame)
        times = frame["time"].dt.epoch("ns").to_numpy()
        order, offsets = _grouped(frame["symbol"])
        columns = {name: _column(frame, name, times) for name in self._reads}
        out = np.empty((len(self.names), frame.height))
        if order is None:
            run_symbols(self._program, columns, offsets, out, count)
        else:
            ordered = np.empty_like(out)
            sorted_columns = {name: column[order] for name, column in columns.items()}
            run_symbols(self._program, sorted_columns, offsets, ordered, count)
            out[:, order] = ordered
        if panel is not None:
            values = np.full((len(panel), len(panel.symbols), len(self.names)), np.nan)
            self._run_slices(panel, ticks, values)
            places = np.searchsorted(panel.times, times), _codes(frame["symbol"], panel.symbols)
            for column in self._by_slices:
                out[column] = values[*places, column]
        elif self._by_slices:
            out[self._by_slices] = np.nan
        series = [pl.Series(name, out[index]) for index, name in enumerate(self.names)]
        table = frame.select("symbol", "time", "known").with_columns(series)
        if panel is None:
            return table
        # What looks at the other symbols of the slice is known when the slice is.
        moments = np.maximum.accumulate(panel.known)[np.searchsorted(panel.times, times)]
        latest = pl.from_epoch(pl.Series(moments), "ns").dt.replace_time_zone("UTC")
        return table.with_columns(known=pl.max_horizontal("known", latest))

    def compute_panel(self, panel: Panel, ticks: Ticks | None = None, *, threads: int = 1) -> Floats:
        """Return the features of a panel, shape (slices, symbols, columns); NaN where absent or not yet defined.

        The values of one symbol and column lie side by side in memory.

        Raises
        ------
        DataError
            The panel was made without a field that a feature reads.
        """
        slices, symbols = len(panel), len(panel.symbols)
        columns = {name: np.ascontiguousarray(panel.field(name).T).reshape(-1) for name in self._reads - {"time"}}
        if "time" in self._reads:
            columns["time"] = np.tile(seconds_of(panel.times), symbols)
        ordered = np.empty((len(self.names), symbols * slices))
        offsets = [slices * number for number in range(symbols + 1)]
        run_symbols(self._program, columns, offsets, ordered, whole("features", "threads", threads))
        out = ordered.reshape(len(self.names), symbols, slices).transpose(2, 1, 0)
        self._run_slices(panel, ticks, out)
        return out

    def _run_slices(self, panel: Panel, ticks: Ticks | None, out: Floats) -> None:
        """Run what goes by slices into its columns of ``out`` (slices, symbols, columns)."""
        run_panels(Program.of(self.features, panel.symbols), panel, out)
        column = 0
        for feature in self.features:
            if isinstance(feature, LongerBars):
                out[:, :, column : column + len(feature.outputs)] = feature.compute_panel(panel)
            column += len(feature.outputs)
        for program in programs_of(self.features):
            states = np.zeros((len(panel.symbols), program.state_size))
            out[:, :, program.columns], _ = program.advance(states, panel, ticks or Ticks(), NEVER)

    def online(self, symbols: Sequence[str]) -> OnlineFeatures:
        """Return the features of the present over a fixed universe, with an empty memory."""
        return OnlineFeatures(self.features, symbols, self.fingerprint)

    def check_causal(self, bars: Any, ticks: Ticks | None = None) -> None:
        """Prove on these bars that no feature sees the future, another symbol, or its own batch; see ``causality``.

        Raises
        ------
        LeakageError
            Names the feature, the symbol and the time, and what changed.
        """
        check_features(self, check_bars(validate(bars, "bars")), ticks)

    def quality(
        self, bars: Any, horizons: Sequence[int] = (1, 6, 24), ticks: Ticks | None = None, *, seed: int = 0
    ) -> FeatureQuality:
        """Return how much the features tell about later returns, and how sure that is; see ``measure_quality``."""
        frame = check_bars(validate(bars, "bars"))
        return measure_quality(self.compute(frame, ticks), frame, horizons, seed=seed)

    @property
    def _program(self) -> Program:
        return Program.of(self.features)

    @property
    def _reads(self) -> frozenset[str]:
        """The columns of bars that the symbol features read."""
        alone = (feature for feature in self.features if isinstance(feature, Feature) and not feature.across)
        return frozenset().union(*(feature.reads for feature in alone))

    @property
    def _by_slices(self) -> list[int]:
        """The columns that go by slices, not symbol by symbol."""
        kinds = [
            not isinstance(feature, Feature) or feature.across for feature in self.features for _ in feature.outputs
        ]
        return [column for column, is_by_slices in enumerate(kinds) if is_by_slices]


def _grouped(symbols: pl.Series) -> tuple[Integers | None, list[int]]:
    """Return the order that brings the rows of each symbol together, None if they are, and where the symbols begin."""
    runs = symbols.rle().struct.unnest()
    if runs["value"].n_unique() == runs.height:
        return None, [0, *runs["len"].cum_sum().to_list()]
    universe = sorted(symbols.unique())
    codes = _codes(symbols, universe)
    order = np.argsort(codes, kind="stable")
    return order, np.searchsorted(codes[order], np.arange(len(universe) + 1)).tolist()


def _codes(symbols: pl.Series, universe: Sequence[str]) -> Integers:
    """Return the place of each symbol in a universe."""
    return symbols.cast(pl.Enum(universe)).to_physical().to_numpy().astype(np.int64)


def _column(bars: pl.DataFrame, name: str, times: Integers) -> Floats:
    """Return a column of a frame of bars as floats, NaN for null."""
    return seconds_of(times) if name == "time" else bars[name].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _rebuild(
    constructors: Mapping[str, Callable[..., Feature]], name: str, parameters: dict[str, Any], version: int
) -> AnyFeature:
    try:
        if name == "timeframe":
            width, stale = parameters["timeframe"], timedelta(microseconds=parameters["stale_ns"] // 1_000)
            inner_set = FeatureSet.from_dict(parameters, constructors)
            return _of_version(timeframe(width, inner_set, stale=stale), version)
        if name == "normalised":
            inner = json.loads(parameters["feature"])
            feature = _rebuild(constructors, inner["name"], inner["parameters"], inner["version"])
            return _of_version(normalised(feature, parameters["window"]), version)  # type: ignore[arg-type]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"feature set: {name} cannot be read: {error}") from error
    if not isinstance(name, str) or name not in constructors:
        raise ValueError(f"feature set: unknown feature {name!r}; wanted one of {', '.join(constructors)}")
    try:
        feature = constructors[name](**parameters)
    except TypeError as error:
        raise ValueError(f"feature set: {name} cannot take the parameters {parameters}: {error}") from error
    return _of_version(feature, version)


def _of_version(feature: AnyFeature, version: int) -> AnyFeature:
    """Return a feature; raise ValueError if it was saved as another version than it is now."""
    now = feature.to_dict()
    if now["version"] != version:
        raise ValueError(
            f"feature set: {now['name']} was saved as version {version}, this library has {now['version']}"
        )
    return feature


def timeframe(
    timeframe: Timeframe, features: Iterable[AnyFeature] | FeatureSet, *, stale: timedelta | None = None
) -> LongerBars:
    """Return features of the bars of a longer timeframe, to stand in a set beside those of the bars themselves.

    The bars are folded into longer ones aligned to 1970 in UTC. A longer bar enters with the first bar at which it is
    known: the one that ends it, or the first after its end; the first bucket of a symbol is not counted. Memory,
    inputs and units are those of the features. Outputs: their columns with the timeframe behind, ``rsi_14_1h``.
    Lookback and warm-up depend on the bars: ask ``FeatureSet.needed``.

    Parameters
    ----------
    timeframe
        Such as ``"1h"``; the bars must make it up without a rest.
    features
        Of bars or panels.
    stale
        NaN when the last longer bar of a symbol closed longer ago; by default twice the timeframe.

    Raises
    ------
    ValueError
        ``stale`` is shorter than the timeframe, or a feature is none of bars.

    Examples
    --------
    >>> from cryptoquant import features as f
    >>> f.FeatureSet([f.rsi(14), f.timeframe("1h", [f.rsi(14)])]).needed("5m")[0]
    191
    """
    if not isinstance(timeframe, str | timedelta) or not isinstance(stale, timedelta | None):
        raise ValueError(f"timeframe: wanted '1h' and a timedelta, found {timeframe!r} and {stale!r}")
    width = span_ns(timeframe)
    limit = 2 * width if stale is None else span_ns(stale)
    table = features if isinstance(features, FeatureSet) else FeatureSet(features)
    if limit < width:
        raise ValueError(f"timeframe: stale after {limit} ns, wanted at least its length of {width} ns")
    if not all(isinstance(feature, Feature) for feature in table.features):
        raise ValueError("timeframe: features of ticks or of a further timeframe stand in the set itself")
    return LongerBars(width, limit, table)


def _fingerprint(features: Sequence[AnyFeature]) -> str:
    """Return the sha256 of names, parameters, columns and versions, and of the source of the steps."""
    rows: list[Any] = []
    for feature in features:
        if isinstance(feature, LongerBars):
            rows.append([feature.to_dict(), feature.features.fingerprint, source_digest(take_all)])
            continue
        digest = digest_of(feature) if isinstance(feature, Feature) else source_digest(feature.step)
        row = [feature.to_dict(), feature.outputs, feature.settings, feature.state_size, digest]
        if isinstance(feature, Feature):
            row += [feature.inputs, feature.across, feature.history, feature.lead, feature.form, feature.against]
        rows.append(row)
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
