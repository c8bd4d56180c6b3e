"""Limit orders with brackets, fees as venues charged them, and a search for exits, on a market from a seed."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import polars as pl

import cryptoquant as cq

STOPS, TARGETS = (0.01, 0.02, 0.04), (0.02, 0.04, 0.08)


def brackets(bars: pl.DataFrame) -> pl.DataFrame:
    """Return an order for every second day: a limit below the close for six hours, and exits for what it fills."""
    return bars.gather_every(48, offset=24).select(
        "time",
        "symbol",
        side=pl.lit("buy"),
        quantity=pl.lit(0.1),
        type=pl.lit("limit"),
        limit=pl.col("close") * 0.998,
        time_in_force=pl.lit("gtt"),
        expires=pl.col("time") + timedelta(hours=6),
        stop_loss=pl.lit(0.004),
        take_profit=pl.lit(0.006),
    )


def main() -> None:
    bars = cq.SyntheticMarket(symbols=["BTC/USD"], days=180, timeframe="1h", seed=7).bars()
    orders = brackets(bars)
    print("the same orders, by venue and by the path inside a bar")
    for name in ("alpaca", "binance", "bitstamp", "coinbase"):
        venue = cq.Venue.alpaca(cq.Costs.of(name))
        worst = cq.simulate(orders, bars, venue=venue).statistics
        best = cq.simulate(orders, bars, venue=replace(venue, path="best")).statistics
        print(f"{name:9} return {worst.total_return:+.2%} to {best.total_return:+.2%}  fees {worst.fees:.0f} USD")

    print("a rule with exits; the best of many is biased upwards, a walk-forward study judges it anew")
    rule, costs = cq.strategy.MovingAverageCross(fast=24, slow=168), cq.Costs.of("coinbase")
    found = []
    for stop, target in product(STOPS, TARGETS):
        execution = cq.Execution(stop_loss=stop, take_profit=target)
        statistics = cq.simulate(rule, bars, costs, execution=execution).statistics
        found.append((statistics.sharpe, stop, target, statistics.trades))
    for sharpe, stop, target, trades in sorted(found, reverse=True):
        print(f"stop {stop:.0%}  target {target:.0%}  sharpe {sharpe:+.2f}  trades {trades}")


if __name__ == "__main__":
    main()
