"""A venue on this machine that speaks Alpaca's crypto protocol, for research and paper trading without keys."""

from cryptoquant.backtest.sandbox.fault import FAULT_KINDS, Fault
from cryptoquant.backtest.sandbox.faults import Faults
from cryptoquant.backtest.sandbox.sandbox import Sandbox
from cryptoquant.backtest.sandbox.stream import StreamLimits

__all__ = ["FAULT_KINDS", "Fault", "Faults", "Sandbox", "StreamLimits"]
