"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models.calibration_decay import CalibrationDecay
from cryptoquant.models.divergence import Divergence
from cryptoquant.models.drift import Adwin, FeatureDrift
from cryptoquant.models.duel import duel
from cryptoquant.models.monitor import Monitor, Trigger, Watch
from cryptoquant.models.monitor_page import Watched
from cryptoquant.models.predictions import PredictionJournal
from cryptoquant.models.scaled import Scaled
from cryptoquant.models.skill import skill
from cryptoquant.models.tabular import Logistic, XGBoost

__all__ = [
    "Adwin",
    "CalibrationDecay",
    "Divergence",
    "FeatureDrift",
    "Logistic",
    "Monitor",
    "PredictionJournal",
    "Scaled",
    "Trigger",
    "Watch",
    "Watched",
    "XGBoost",
    "duel",
    "skill",
]
