"""Research, backtest and paper-trade machine-learning strategies on crypto, by one step in research and live."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptoquant import errors as errors
    from cryptoquant import features as features
    from cryptoquant import models as models
    from cryptoquant.backtest.by_symbol import walk_forward_by_symbol as walk_forward_by_symbol
    from cryptoquant.backtest.experiment import Experiment as Experiment
    from cryptoquant.backtest.learning import Retraining as Retraining
    from cryptoquant.backtest.paths import Paths as Paths
    from cryptoquant.backtest.paths import combinatorial as combinatorial
    from cryptoquant.backtest.placebo import Placebo as Placebo
    from cryptoquant.backtest.placebo import placebo as placebo
    from cryptoquant.backtest.placebo import power as power
    from cryptoquant.backtest.plan import Plan as Plan
    from cryptoquant.backtest.robustness import robustness as robustness
    from cryptoquant.backtest.sandbox import Fault as Fault
    from cryptoquant.backtest.sandbox import Faults as Faults
    from cryptoquant.backtest.sandbox import Sandbox as Sandbox
    from cryptoquant.backtest.simulator import simulate as simulate
    from cryptoquant.backtest.strategy_search import TuneStrategy as TuneStrategy
    from cryptoquant.backtest.study import Study as Study
    from cryptoquant.backtest.sweep import sweep as sweep
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
    from cryptoquant.live.options import TraderOptions as TraderOptions
    from cryptoquant.live.profile import Profile as Profile
    from cryptoquant.live.replay import replay as replay
    from cryptoquant.live.trader import Trader as Trader
    from cryptoquant.live.watch import Patience as Patience
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
    "Fault": "backtest.sandbox",
    "Faults": "backtest.sandbox",
    "FeatureSet": "features.feature_set",
    "Fill": "trading.order",
    "Financing": "trading.financing",
    "Gate": "performance.evidence",
    "KeyRing": "data.encryption",
    "Order": "trading.order",
    "Panel": "market.slice",
    "Paths": "backtest.paths",
    "Patience": "live.watch",
    "Placebo": "backtest.placebo",
    "Plan": "backtest.plan",
    "Portfolio": "trading.portfolio",
    "Profile": "live.profile",
    "Protection": "trading.order",
    "PurgedKFold": "models.splits",
    "Recorder": "data.recorder",
    "RecorderOptions": "data.recorder_status",
    "Registry": "models.registry",
    "Report": "performance.report",
    "Retraining": "backtest.learning",
    "RiskLimits": "trading.risk",
    "Sandbox": "backtest.sandbox",
    "Signal": "market.signal",
    "Store": "data.store",
    "Study": "backtest.study",
    "SyntheticMarket": "data.synthetic",
    "Trader": "live.trader",
    "TraderOptions": "live.options",
    "TrialLedger": "performance.trials",
    "Tune": "models.tune",
    "TuneStrategy": "backtest.strategy_search",
    "Venue": "trading.venue",
    "View": "trading.strategy",
    "WalkForward": "models.splits",
    "combinatorial": "backtest.paths",
    "download": "data.download",
    "placebo": "backtest.placebo",
    "power": "backtest.placebo",
    "record": "data.recorder",
    "replay": "live.replay",
    "robustness": "backtest.robustness",
    "simulate": "backtest.simulator",
    "sweep": "backtest.sweep",
    "walk_forward": "backtest.walk_forward",
    "walk_forward_by_symbol": "backtest.by_symbol",
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
    "Fault",
    "Faults",
    "FeatureSet",
    "Fill",
    "Financing",
    "Gate",
    "KeyRing",
    "Order",
    "Panel",
    "Paths",
    "Patience",
    "Placebo",
    "Plan",
    "Portfolio",
    "Profile",
    "Protection",
    "PurgedKFold",
    "Recorder",
    "RecorderOptions",
    "Registry",
    "Report",
    "Retraining",
    "RiskLimits",
    "Sandbox",
    "Signal",
    "Store",
    "Study",
    "SyntheticMarket",
    "Trader",
    "TraderOptions",
    "TrialLedger",
    "Tune",
    "TuneStrategy",
    "Venue",
    "View",
    "WalkForward",
    "combinatorial",
    "download",
    "errors",
    "features",
    "models",
    "placebo",
    "power",
    "record",
    "replay",
    "robustness",
    "simulate",
    "strategy",
    "sweep",
    "walk_forward",
    "walk_forward_by_symbol",
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
