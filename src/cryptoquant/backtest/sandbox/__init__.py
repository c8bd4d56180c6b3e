"""A venue on this machine that speaks Alpaca's crypto protocol, for research and paper trading without keys."""

from cryptoquant.backtest.sandbox.sandbox import Sandbox
from cryptoquant.backtest.sandbox.stream import StreamLimits

__all__ = ["Sandbox", "StreamLimits"]
