"""Is the market still the one a model learned, and is its skill still there? Drift, decay, predictions and triggers."""

from cryptoquant.models.monitoring.calibration_decay import CalibrationDecay
from cryptoquant.models.monitoring.divergence import Divergence
from cryptoquant.models.monitoring.drift import Adwin, FeatureDrift
from cryptoquant.models.monitoring.duel import duel
from cryptoquant.models.monitoring.monitor import Monitor, Watch
from cryptoquant.models.monitoring.page import Watched
from cryptoquant.models.monitoring.predictions import PredictionJournal
from cryptoquant.models.monitoring.skill import skill
from cryptoquant.models.monitoring.trigger import Trigger

__all__ = [
    "Adwin",
    "CalibrationDecay",
    "Divergence",
    "FeatureDrift",
    "Monitor",
    "PredictionJournal",
    "Trigger",
    "Watch",
    "Watched",
    "duel",
    "skill",
]
