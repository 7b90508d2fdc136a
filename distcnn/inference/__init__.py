"""From package and survey to predictions, and the proof that they are what they should be."""

from distcnn.inference.array import ShareSummary, predict_share
from distcnn.inference.forecast import Forecast, forecast
from distcnn.inference.plan import Plan, plan
from distcnn.inference.predict import PredictSummary, predict, table_of_engines
from distcnn.inference.prediction_store import discard_unfinished
from distcnn.inference.verify import VerifySummary, verify

__all__ = [
    "Forecast",
    "Plan",
    "PredictSummary",
    "ShareSummary",
    "VerifySummary",
    "discard_unfinished",
    "forecast",
    "plan",
    "predict",
    "predict_share",
    "table_of_engines",
    "verify",
]
