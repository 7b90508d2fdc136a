"""Is the network better than simpler methods, on the same stars: a label that a linear fit
predicts as well is no reason for a network.
"""

import math

from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import ROBUST_SCATTER_ERROR, decide, sigma_outside
from distcnn.checks.inputs import NO_PREDICTIONS, CheckInputs, EvaluatedPredictions
from distcnn.evaluation.baseline_table import NETWORK
from distcnn.evaluation.records import ComparisonRow


def answer_network_gain(inputs: CheckInputs) -> Answer:
    """Of the prediction store that was given."""
    if inputs.evaluated is None:
        return Answer(Verdict.UNDECIDED, NO_PREDICTIONS)
    return network_gain(inputs.evaluated)


def network_gain(data: EvaluatedPredictions) -> Answer:
    """Fails where a baseline has the smaller robust scatter on a label, over all S/N."""
    compared = [row for row in data.numbers.comparison if row["snr"] == "all"]
    compared = [row for row in compared if len(row["methods"]) > 1 and NETWORK in row["methods"]]
    if not compared:
        return Answer(
            Verdict.UNDECIDED,
            "no baselines on stars outside training; `distcnn compare` makes them",
        )
    rows = [_row(row) for row in compared]
    found = decide(rows)
    lost = [str(row["label"]) for row in found.failed]
    least = min(rows, key=lambda row: float(row["gain"]))
    sentence = (
        f"a baseline is better for {', '.join(lost)}"
        if lost
        else f"{'no baseline is' if found.open else 'for every label'}; closest is "
        f"{least['baseline']} for {least['label']}, "
        f"with {float(least['gain']):.2f} times its scatter"
    )
    return Answer(found.verdict, sentence + found.note(lambda row: str(row["label"])), rows)


def _row(row: ComparisonRow) -> AnswerRow:
    scatter = {method: found["mad"] for method, found in row["methods"].items()}
    network = scatter.pop(NETWORK)
    best = min(scatter, key=lambda method: scatter[method])
    gain = scatter[best] / network if network > 0 else 1e9
    # As of two independent scatters: of the same stars they differ by less.
    error = gain * ROBUST_SCATTER_ERROR * math.sqrt(2) / math.sqrt(row["stars"])
    return {
        "label": row["label"],
        "stars": row["stars"],
        "network": network,
        "baseline": best,
        "baseline_scatter": scatter[best],
        "gain": gain,
        "gain_error": error,
        "sigma_outside": sigma_outside(1.0, gain, error),
    }
