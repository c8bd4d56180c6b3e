"""Three rules of the old markets' day on paper, each with its capital: ``python trading_day.py all --days 5``.

``overnight`` buys when a session closes and sells when the next one opens. ``momentum`` follows the first half hour of
a session until its close; it would also sell short, which a spot venue refuses: then it is flat, and the journal says
why. ``hours`` holds during stated hours of the day, so that it trades every day.

By default the market is the sandbox's, in lock-step: five days pass in seconds, and no keys are needed. With
``--paper`` the same rules trade on Alpaca's paper account with the keys of the environment, in real time.
"""

import argparse
import tempfile
from contextlib import ExitStack
from datetime import time, timedelta
from pathlib import Path

import cryptoquant as cq
from cryptoquant import strategy as s


def options() -> argparse.Namespace:
    """Return what the user wants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rule", choices=["overnight", "momentum", "hours", "all"])
    parser.add_argument("--symbol", default="BTC/USD")
    parser.add_argument("--capital", type=float, default=25_000.0, help="USD of each rule")
    parser.add_argument("--quantity", type=float, help="coins to hold; by default as many as the capital buys")
    parser.add_argument("--zone", default="America/New_York", help="whose clock tells the hours")
    parser.add_argument("--open", type=time.fromisoformat, default=time(9, 30), help="of the session")
    parser.add_argument("--close", type=time.fromisoformat, default=time(16, 0), help="of the session")
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7, help="of the sandbox's market")
    parser.add_argument("--paper", action="store_true", help="trade on Alpaca's paper account")
    parser.add_argument("--folder", type=Path, help="keep store and journal here")
    return parser.parse_args()


def profiles(wanted: argparse.Namespace) -> list[cq.Profile]:
    """Return the profiles of the rules that are wanted."""
    session = s.Session(wanted.zone, wanted.open, wanted.close)
    rules: dict[str, s.Strategy] = {
        "overnight": s.OvernightHold(session),
        "momentum": s.OpeningMomentum(session, "30m", threshold=0.001, bar="5m", allows_short=True),
        "hours": s.TimeOfDay(time(18), time(21), zone=wanted.zone),
    }
    chosen = rules if wanted.rule == "all" else {wanted.rule: rules[wanted.rule]}
    made = []
    for name, rule in chosen.items():
        sized = rule if wanted.quantity is None else s.FixedQuantity(rule, wanted.quantity)
        execution = cq.Execution(reserve=0.03 if wanted.quantity is None else 0.0)
        settings = {"execution": execution, "capital": wanted.capital, "on_stop": "close"}
        made.append(cq.Profile.rule(name, sized, [wanted.symbol], "5m", **settings))
    return made


def main() -> None:
    wanted = options()
    with ExitStack() as opened:
        folder = wanted.folder or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        if wanted.paper:
            connection = cq.Alpaca()
        else:
            market = cq.Sandbox(
                wanted.seed, [wanted.symbol], days=wanted.days + 10, history=timedelta(days=5), lockstep=True
            )
            connection = opened.enter_context(market).alpaca()
        trader = cq.Trader(profiles(wanted), connection, cq.Store(folder / "data"), journal=folder / "journal.sqlite")
        done = trader.run(until=timedelta(days=wanted.days))
    for name, one in done.profiles.items():
        print(f"{name:10} {one.profit:+10,.2f} USD, {one.fills} fills, {one.refused} refused, {one.fees:,.2f} in fees")
    print(f"{'account':10} {done.equity:10,.2f} USD, of which spare {done.spare:,.2f}")


if __name__ == "__main__":
    main()
