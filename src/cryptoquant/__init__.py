"""Research, backtest and paper-trade machine-learning strategies on crypto, by one step in research and live."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptoquant import errors as errors
    from cryptoquant import features as features
    from cryptoquant import models as models
    from cryptoquant.backtest.experiment import Experiment as Experiment
    from cryptoquant.backtest.sandbox import Sandbox as Sandbox
    from cryptoquant.backtest.simulator import simulate as simulate
    from cryptoquant.backtest.sweep import sweep as sweep
    from cryptoquant.backtest.walk_forward import Study as Study
    from cryptoquant.backtest.walk_forward import walk_forward as walk_forward
    from cryptoquant.data.alpaca import Alpaca as Alpaca
    from cryptoquant.data.download import download as download
    from cryptoquant.data.encryption import KeyRing as KeyRing
    from cryptoquant.data.recorder import Recorder as Recorder
    from cryptoquant.data.recorder import record as record
    from cryptoquant.data.recorder_status import RecorderOptions as RecorderOptions
    from cryptoquant.data.store import Store as Store
    from cryptoquant.data.synthetic import SyntheticMarket as SyntheticMarket
    from cryptoquant.features.feature_set import FeatureSet as FeatureSet
    from cryptoquant.live.replay import replay as replay
    from cryptoquant.live.trader import Trader as Trader
    from cryptoquant.market.signal import Signal as Signal
    from cryptoquant.market.slice import Panel as Panel
    from cryptoquant.models.bundle import Bundle as Bundle
    from cryptoquant.models.dataset import Dataset as Dataset
    from cryptoquant.models.registry import Registry as Registry
    from cryptoquant.models.splits import CombinatorialPurged as CombinatorialPurged
    from cryptoquant.models.splits import PurgedKFold as PurgedKFold
    from cryptoquant.models.splits import WalkForward as WalkForward
    from cryptoquant.models.tune import Tune as Tune
    from cryptoquant.performance.evidence import Evidence as Evidence
    from cryptoquant.performance.evidence import Gate as Gate
    from cryptoquant.performance.report import Report as Report
    from cryptoquant.performance.trials import TrialLedger as TrialLedger
    from cryptoquant.trading import strategy as strategy
    from cryptoquant.trading.engine import Engine as Engine
    from cryptoquant.trading.execution import Execution as Execution
    from cryptoquant.trading.financing import Financing as Financing
    from cryptoquant.trading.order import Fill as Fill
    from cryptoquant.trading.order import Order as Order
    from cryptoquant.trading.order import Protection as Protection
    from cryptoquant.trading.portfolio import Portfolio as Portfolio
    from cryptoquant.trading.risk import RiskLimits as RiskLimits
    from cryptoquant.trading.strategy import View as View
    from cryptoquant.trading.venue import Costs as Costs
    from cryptoquant.trading.venue import Venue as Venue

__version__ = "0.1.0"

# Where each public name lives; it is imported when it is first used, so that importing the package stays light.
NAMES = {
    "Alpaca": "data.alpaca",
    "Bundle": "models.bundle",
    "CombinatorialPurged": "models.splits",
    "Costs": "trading.venue",
    "Dataset": "models.dataset",
    "Engine": "trading.engine",
    "Evidence": "performance.evidence",
    "Execution": "trading.execution",
    "Experiment": "backtest.experiment",
    "FeatureSet": "features.feature_set",
    "Fill": "trading.order",
    "Financing": "trading.financing",
    "Gate": "performance.evidence",
    "KeyRing": "data.encryption",
    "Order": "trading.order",
    "Panel": "market.slice",
    "Portfolio": "trading.portfolio",
    "Protection": "trading.order",
    "PurgedKFold": "models.splits",
    "Recorder": "data.recorder",
    "RecorderOptions": "data.recorder_status",
    "Registry": "models.registry",
    "Report": "performance.report",
    "RiskLimits": "trading.risk",
    "Sandbox": "backtest.sandbox",
    "Signal": "market.signal",
    "Store": "data.store",
    "Study": "backtest.walk_forward",
    "SyntheticMarket": "data.synthetic",
    "Trader": "live.trader",
    "TrialLedger": "performance.trials",
    "Tune": "models.tune",
    "Venue": "trading.venue",
    "View": "trading.strategy",
    "WalkForward": "models.splits",
    "download": "data.download",
    "record": "data.recorder",
    "replay": "live.replay",
    "simulate": "backtest.simulator",
    "sweep": "backtest.sweep",
    "walk_forward": "backtest.walk_forward",
}
ROOMS = {
    "errors": "errors",
    "features": "features",
    "models": "models",
    "strategy": "trading.strategy",
}

__all__ = [
    "Alpaca",
    "Bundle",
    "CombinatorialPurged",
    "Costs",
    "Dataset",
    "Engine",
    "Evidence",
    "Execution",
    "Experiment",
    "FeatureSet",
    "Fill",
    "Financing",
    "Gate",
    "KeyRing",
    "Order",
    "Panel",
    "Portfolio",
    "Protection",
    "PurgedKFold",
    "Recorder",
    "RecorderOptions",
    "Registry",
    "Report",
    "RiskLimits",
    "Sandbox",
    "Signal",
    "Store",
    "Study",
    "SyntheticMarket",
    "Trader",
    "TrialLedger",
    "Tune",
    "Venue",
    "View",
    "WalkForward",
    "download",
    "errors",
    "features",
    "models",
    "record",
    "replay",
    "simulate",
    "strategy",
    "sweep",
    "walk_forward",
]


def __getattr__(name: str) -> Any:
    if name in ROOMS:
        found: Any = import_module(f"cryptoquant.{ROOMS[name]}")
    elif name in NAMES:
        found = getattr(import_module(f"cryptoquant.{NAMES[name]}"), name)
    else:
        raise AttributeError(f"module 'cryptoquant' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
