"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models.scaled import Scaled
from cryptoquant.models.tabular import Logistic, XGBoost

__all__ = ["Logistic", "Scaled", "XGBoost"]
