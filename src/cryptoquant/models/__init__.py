"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models.boosting import XGBoost
from cryptoquant.models.forests import ExtraTrees, HistGradientBoosting, RandomForest
from cryptoquant.models.scaled import Scaled
from cryptoquant.models.tabular import Logistic, Ridge

__all__ = ["ExtraTrees", "HistGradientBoosting", "Logistic", "RandomForest", "Ridge", "Scaled", "XGBoost"]
