"""From package and survey to predictions, and the proof that they are what they should be."""

from distcnn.inference.forecast import Forecast, forecast
from distcnn.inference.plan import Plan, plan
from distcnn.inference.predict import PredictSummary, predict, table_of_engines
from distcnn.inference.verify import VerifySummary, verify

__all__ = [
    "Forecast",
    "Plan",
    "PredictSummary",
    "VerifySummary",
    "forecast",
    "plan",
    "predict",
    "table_of_engines",
    "verify",
]
