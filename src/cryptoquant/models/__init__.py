"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models.boosting import XGBoost
from cryptoquant.models.calibration import Calibrated
from cryptoquant.models.calibration_decay import CalibrationDecay
from cryptoquant.models.divergence import Divergence
from cryptoquant.models.drift import Adwin, FeatureDrift
from cryptoquant.models.duel import duel
from cryptoquant.models.ensemble import Average, Stacked
from cryptoquant.models.estimator import Estimator, as_model
from cryptoquant.models.forests import ExtraTrees, HistGradientBoosting, RandomForest
from cryptoquant.models.monitor import Monitor, Trigger, Watch
from cryptoquant.models.monitor_page import Watched
from cryptoquant.models.predictions import PredictionJournal
from cryptoquant.models.scaled import Scaled
from cryptoquant.models.sequence import LSTM, TCN
from cryptoquant.models.skill import skill
from cryptoquant.models.tabular import Logistic, Ridge
from cryptoquant.models.transfer import FineTuned
from cryptoquant.models.veto import Vetoed
from cryptoquant.models.weighted import Weighted

__all__ = [
    "LSTM",
    "TCN",
    "Adwin",
    "Average",
    "Calibrated",
    "CalibrationDecay",
    "Divergence",
    "Estimator",
    "ExtraTrees",
    "FeatureDrift",
    "FineTuned",
    "HistGradientBoosting",
    "Logistic",
    "Monitor",
    "PredictionJournal",
    "RandomForest",
    "Ridge",
    "Scaled",
    "Stacked",
    "Trigger",
    "Vetoed",
    "Watch",
    "Watched",
    "Weighted",
    "XGBoost",
    "as_model",
    "duel",
    "skill",
]
