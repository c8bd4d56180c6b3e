"""Who watches a recording while it runs: how late it is, who is silent, whose clock jumps, and whether trades lack."""

import time
from collections.abc import Callable, Iterable, Mapping

import polars as pl

from cryptoquant.data.alpaca import Alpaca
from cryptoquant.data.backfill import UNREADABLE, Backfill
from cryptoquant.data.clock import pace_of
from cryptoquant.data.decode import Decoded
from cryptoquant.data.gaps import Gap
from cryptoquant.data.rate import TokenBucket
from cryptoquant.data.receiver import Receiver
from cryptoquant.data.reconciliation import Key, Reconciliation
from cryptoquant.data.recorder_status import Counters
from cryptoquant.data.store import Store
from cryptoquant.data.watchdog import REGULAR, Watchdog
from cryptoquant.errors import CryptoquantError, EmptyStoreError, UnknownSymbolError

NEWER = 10_000_000_000
STEP = 100_000_000
SILENCE = 60_000_000_000
NEVER = (1 << 63) - 1
MOST_AT_ONCE = 100
CONFIRMED_SECONDS = 30.0
LATEST = {"trades": "trades", "quotes": "quotes", "bars": "bars", "books": "orderbooks"}
"""What the venue calls its newest message of a kind."""


class Supervisor:
    """Learns from what is decoded, and looks now and then whether all is well.

    Parameters
    ----------
    store
        Where the trades of a minute are looked up when its bar says that some are missing.
    receiver
        Is told to connect again where a channel is silent that should speak.
    clock
        The recorder's, ns UTC.
    report
        Called with symbol, start, end (ns UTC) and cause of a span whose trades are to be fetched; returns the gap.
    """

    def __init__(
        self,
        store: Store,
        receiver: Receiver,
        counters: Counters,
        clock: Callable[[], int],
        report: Callable[[str, int, int, str], Gap],
    ) -> None:
        self._store, self._receiver, self._count, self._clock = store, receiver, counters, clock
        self._source: Alpaca = receiver.source
        self._report = report
        self._bucket = TokenBucket(sleep=receiver.ended.wait)
        self._watchdog = Watchdog(floor_ns=int(SILENCE * pace_of(self._source)) or NEVER)
        self._has_bars = "bars" in receiver.channels
        has_both = {"trades", "bars"} <= set(receiver.channels)
        self._reconciliation = Reconciliation() if has_both else None
        self._messages, self._moment, self._wall = 0, time.monotonic(), clock()

    def expect(self, keys: Iterable[tuple[str, str]], now: int) -> None:
        """Begin to listen to kinds and symbols at ``now`` (ns UTC): a connection is confirmed."""
        self._watchdog.expect(keys, now)

    def look(self, decoded: Decoded) -> None:
        """Learn from a decoded chunk how often each symbol speaks, how late, and how much was traded."""
        for kind, frame in decoded.frames.items():
            if kind == "gaps":
                self._answered(frame)
            if kind in ("gaps", "quarantine"):
                continue
            heard = frame.filter(pl.col("rank") < 2).group_by("symbol").agg(pl.col("known").max(), pl.len())
            for symbol, known, count in heard.with_columns(pl.col("known").dt.epoch("ns")).iter_rows():
                self._watchdog.heard((kind, symbol), known, count)
            if kind in ("trades", "quotes"):
                late = frame.filter(pl.col("rank") == 0).select(pl.col("known") - pl.col("time")).to_series()
                if len(late):
                    seconds = late.dt.total_nanoseconds() / 1e9
                    self._count.lag, self._count.skew = float(seconds.median()), float(seconds.min())  # type: ignore[arg-type]
        if self._reconciliation is not None:
            self._reconciliation.take(decoded.frames)

    def check(self, messages: int, backfill: Backfill | None) -> None:
        """Look whether all is well, ``messages`` having been decoded so far."""
        moment, wall = time.monotonic(), self._clock()
        passed = moment - self._moment
        self._count.rate = (messages - self._messages) / max(passed, 1e-9)
        self._check_clock(wall - self._wall - int(passed * 1e9))
        self._messages, self._moment, self._wall = messages, moment, wall
        self._check_silence(wall)
        if backfill is not None:
            self._check_trades(wall, backfill)

    def _check_clock(self, step: int) -> None:
        """Note a clock that jumped by ``step`` (ns), which is no silence; that of a sandbox goes as it is told."""
        if abs(step) > STEP and self._source.control_url is None:
            self._count.clock_steps += 1
            self._receiver.say(f"the clock of this machine jumped by {step / 1e9:+.3f} s")
            self._watchdog.shift(step)

    def _check_silence(self, now: int) -> None:
        """Connect again where no subscription is confirmed, or a channel is silent of which the venue has news.

        A sandbox in lock-step is silent when it is told to be, and never for too long.
        """
        if self._receiver.unconfirmed_s > CONFIRMED_SECONDS:
            self._receiver.reconnect(f"no subscription was confirmed within {CONFIRMED_SECONDS:.0f} s")
        silent = self._watchdog.silent(now) if self._count.is_subscribed else {}
        missed = self._behind(silent, now)
        if missed:
            kind, symbol = missed[0]
            more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
            since = now - max(silent[key] for key in missed)
            self._receiver.reconnect(f"{kind} of {symbol}{more} silent for {silent[missed[0]] / 1e9:.0f} s", since)
        self._watchdog.ask(silent, now)

    def _behind(self, silent: Mapping[tuple[str, str], int], now: int) -> list[tuple[str, str]]:
        """Return those of the silent keys of which the venue has news; of bars also when it does not answer.

        Days have no news of their own: they are missed when the minutes of their symbol come.
        """
        found = [key for key in silent if key[0] == "daily_bars" and ("bars", key[1]) not in silent and self._has_bars]
        for kind, name in LATEST.items():
            keys = [key for key in silent if key[0] == kind]
            if not keys:
                continue
            try:
                latest = self._source.latest_times(name, [symbol for _, symbol in keys], bucket=self._bucket)
            except (CryptoquantError, *UNREADABLE) as error:
                self._receiver.say(f"{kind} are silent, and the venue's history does not answer: {error!r}")
                found += keys if kind in REGULAR else []
                continue
            late = NEWER - REGULAR.get(kind, 0)  # a bar is stamped with its open
            found += [key for key in keys if latest.get(key[1], 0) > now - silent[key] + late]
        return found

    def _check_trades(self, now: int, backfill: Backfill) -> None:
        """Have the trades fetched of minutes whose bars say that some are missing."""
        reconciliation = self._reconciliation
        if reconciliation is None:
            return
        lacking = [key for key in reconciliation.due(now) if not backfill.is_open("trades", key[0], key[1])]
        judged = [reconciliation.judge(key, self._trades(key)) for key in lacking[:MOST_AT_ONCE]]
        gaps = []
        for shortfall in [found for found in judged if found is not None]:
            gaps.append(self._report(shortfall.symbol, shortfall.start, shortfall.end - 1, shortfall.cause))
            reconciliation.asked(gaps[-1].id, shortfall)
        backfill.submit(gaps)
        self._count.minutes, self._count.short = reconciliation.checked, reconciliation.short

    def _trades(self, key: Key) -> pl.DataFrame:
        """Return the stored trades of a minute."""
        symbol, opened = key
        try:
            found: pl.DataFrame = self._store.trades(symbol, opened, opened + 60_000_000_000 - 1)
        except (EmptyStoreError, UnknownSymbolError):
            return pl.DataFrame(schema={"size": pl.Float64})
        return found

    def _answered(self, ledger: pl.DataFrame) -> None:
        """Take from the ledger which gaps were filled with how much."""
        if self._reconciliation is None:
            return
        for gap, rows in ledger.filter(pl.col("state") == "filled").select("id", "rows").iter_rows():
            symbol = self._reconciliation.answered(gap, rows)
            if symbol is not None:
                self._receiver.say(
                    f"bars of {symbol} say more than the venue's own trades, three times: not reconciled any more"
                )
