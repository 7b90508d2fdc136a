"""Calibration by itself: fitted many times to few stars, judged on others, and drawn.

Legend: N star, L label, D draw.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from distcnn.model.ensemble import Prediction
from distcnn.quality import Calibration
from distcnn.schema import LABELS
from distcnn.stats import WITHIN_68, WITHIN_95, snr_groups
from distcnn.style import BLUE, FAINT_INK, GREEN, ORANGE, RED, grid, style

Array = np.ndarray[Any, Any]
COUNTS = (75, 150, 300, 450, 900, 1800)
"""Calibration stars: 450 are those of folds with 500 labels, 75 those of the present split."""
EDGES = (15.0, 25.0, 50.0, 100.0)
_COLOURS = (BLUE, GREEN, ORANGE, RED)


def draw_coverage(
    seen: Prediction,
    truth: Array,
    label_error: Array,
    snr: Array,
    *,
    names: Sequence[str],
    draws: int,
) -> dict[str, Any]:
    """Coverage of the 68 and 95 % intervals per number of calibration stars, label and S/N bin.

    Parameters
    ----------
    truth, label_error : [N, L] and [L]; references are truth with such an error.

    Returns
    -------
    ``draws``, ``stars`` judged, and ``rows``: count, label, snr, ``within_68`` and ``within_95``
    [D].
    """
    rows = []
    for count in (n for n in COUNTS if n <= len(snr) // 2):
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for draw in range(draws):
            rng = np.random.default_rng([count, draw])
            order = rng.permutation(len(snr))
            fit, rest = order[:count], order[count:]
            reference = truth[fit] + label_error * rng.standard_normal(truth[fit].shape)
            fitted = Calibration.fit(
                seen.label[fit] - reference,
                seen.noise[fit],
                seen.scatter[fit],
                np.tile(label_error, (count, 1)),
                snr[fit],
                edges=EDGES,
                label=seen.label[fit],
                names=names,
            )
            total = fitted.apply(seen.noise[rest], seen.scatter[rest], snr[rest], seen.label[rest])
            residual = np.abs(seen.label[rest] - truth[rest])
            one, two = residual <= total, residual <= fitted.width_95 * total
            for text, inside in snr_groups(snr[rest], EDGES):
                for k, name in enumerate(names):
                    pair = float(one[inside, k].mean()), float(two[inside, k].mean())
                    found.setdefault((name, text), []).append(pair)
        for (name, text), pairs in found.items():
            within_68, within_95 = (list(values) for values in zip(*pairs, strict=True))
            row = {"count": count, "label": name, "snr": text}
            rows.append(row | {"within_68": within_68, "within_95": within_95})
    return {"draws": draws, "stars": len(snr), "rows": rows}


def figure_of_draws(found: Mapping[str, Any]) -> str:
    """SVG: per label, coverage by number of calibration stars, mean and spread over the draws."""
    names = list(dict.fromkeys(row["label"] for row in found["rows"]))
    with style():
        figure = Figure(figsize=(2.4 * len(names), 5.0), layout="constrained")
        axes = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
        for column, name in enumerate(names):
            for line, (key, right) in enumerate(
                (("within_68", WITHIN_68), ("within_95", WITHIN_95))
            ):
                ax = axes[line, column]
                _panel(ax, [row for row in found["rows"] if row["label"] == name], key, right)
                if not line:
                    ax.set_title(LABELS[name].symbol)
            axes[1, column].set_xlabel("calibration stars")
        axes[0, 0].set_ylabel("within the 68 % error")
        axes[1, 0].set_ylabel("within the 95 % interval")
        axes[0, 0].legend(title="S/N", fontsize="small")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _panel(ax: Any, rows: Sequence[Mapping[str, Any]], key: str, right: float) -> None:
    grid(ax)
    tolerated = 0.04 if right < 0.9 else 0.03
    ax.axhspan(right - tolerated, right + tolerated, color=FAINT_INK, alpha=0.15, lw=0)
    ax.axhline(right, color=FAINT_INK, lw=0.8)
    found = dict.fromkeys(row["snr"] for row in rows)
    bins = [text for text in found if text not in ("all", "< 15")]
    for place, (text, colour) in enumerate(zip(bins, _COLOURS, strict=False)):
        mine = [row for row in rows if row["snr"] == text]
        counts = np.array([row["count"] for row in mine]) * 1.06 ** (place - 1.5)
        values = np.array([row[key] for row in mine])
        ax.errorbar(
            counts,
            values.mean(axis=1),
            values.std(axis=1),
            color=colour,
            marker="o",
            ms=3,
            lw=1,
            label=text,
        )
    ax.set_xscale("log")
