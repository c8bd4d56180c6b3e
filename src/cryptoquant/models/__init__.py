"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models import explain, monitoring, objectives
from cryptoquant.models.boosting import XGBoost
from cryptoquant.models.calibration import Calibrated
from cryptoquant.models.ensemble import Average, Stacked
from cryptoquant.models.estimator import Estimator, as_model
from cryptoquant.models.forests import ExtraTrees, HistGradientBoosting, RandomForest
from cryptoquant.models.scaled import Scaled
from cryptoquant.models.sequence import LSTM, TCN
from cryptoquant.models.splits import cross_validation
from cryptoquant.models.tabular import Logistic, Ridge
from cryptoquant.models.transfer import FineTuned
from cryptoquant.models.veto import Vetoed
from cryptoquant.models.weighted import Weighted

__all__ = [
    "LSTM",
    "TCN",
    "Average",
    "Calibrated",
    "Estimator",
    "ExtraTrees",
    "FineTuned",
    "HistGradientBoosting",
    "Logistic",
    "RandomForest",
    "Ridge",
    "Scaled",
    "Stacked",
    "Vetoed",
    "Weighted",
    "XGBoost",
    "as_model",
    "cross_validation",
    "explain",
    "monitoring",
    "objectives",
]
