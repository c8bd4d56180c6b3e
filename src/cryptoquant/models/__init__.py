"""Learning from datasets, judging what was learned, and keeping it as whole strategies."""

from cryptoquant.models.scaled import Scaled
from cryptoquant.models.sequence import LSTM, TCN
from cryptoquant.models.tabular import Logistic, XGBoost
from cryptoquant.models.transfer import FineTuned

__all__ = ["LSTM", "TCN", "FineTuned", "Logistic", "Scaled", "XGBoost"]
