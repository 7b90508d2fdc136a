"""Tables, figures and record of the map of spectra, from its stars as they were placed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from distcnn.arrays import Array
from distcnn.config import TsneMapConfig
from distcnn.maps.drawing import draw_density, enlarged, readable
from distcnn.maps.record import Exhibit, MapRecord
from distcnn.maps.tables import write_table
from distcnn.stats import bin_name, snr_bins
from distcnn.style import panels, save_figure, style

Row = dict[str, Any]
SNR_EDGES = (15.0, 25.0, 50.0, 100.0)
PIXELS = 600
"""Columns and rows of the images."""
TABLES = {
    "comparison": Exhibit(
        "The map and the novelty score",
        "Observed stars that are no training stars: how many the map takes for unlike the "
        "training spectra, how many the novelty score of the package, and how many both.",
    )
}
FIGURES = {
    "kinds": Exhibit(
        "Joint t-SNE map of training and observed spectra",
        "Left: training stars; middle: observed stars that are train-like; right: observed stars "
        "around which there are no training stars. Shade: number of stars, by rank within the "
        "panel.",
    ),
    "novelty": Exhibit(
        "Novelty on the map",
        "Fraction of the observed stars of each place whose novelty score is above its limit.",
    ),
}

_NO_UNIT = "place on the map (no unit)"


@dataclass
class TsneSums:
    """Of the stars placed: images [rows, columns] by kind, and counts by S/N bin."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    images: dict[str, Array] = field(default_factory=dict)
    counts: dict[tuple[int, bool, bool], int] = field(default_factory=dict)
    training: int = 0

    def add(self, stars: Mapping[str, Array]) -> None:
        """Count the stars of one file."""
        observed, novel = ~stars["training"], stars["novelty"] > 1
        self.training += int(stars["training"].sum())
        for name, kind in (
            ("training", stars["training"]),
            ("like", observed & ~stars["unlike"]),
            ("unlike", observed & stars["unlike"]),
            ("novel", observed & novel),
            ("observed", observed),
        ):
            image = _image(stars["x"][kind], stars["y"][kind], self.x_range, self.y_range)
            self.images[name] = self.images.get(name, 0) + image
        bins = snr_bins(stars["snr"], SNR_EDGES)
        for number in np.unique(bins):
            for unlike in (False, True):
                for is_novel in (False, True):
                    kind = observed & (bins == number)
                    kind &= (stars["unlike"] == unlike) & (novel == is_novel)
                    key = (int(number), unlike, is_novel)
                    self.counts[key] = self.counts.get(key, 0) + int(kind.sum())


def write_results(
    folder: Path,
    stars: Path,
    origin: Mapping[str, Any],
    columns: Mapping[str, str],
    config: TsneMapConfig,
) -> MapRecord:
    """Write them into ``folder`` from the files in ``stars``; returns the record."""
    sums = TsneSums(*_ranges(stars))
    for block in _blocks(stars, None):
        sums.add(block)
    rows = comparison_rows(sums)
    write_table(folder / "comparison.ecsv", rows, {}, TABLES["comparison"].caption)
    with style():
        _draw_kinds(folder, sums)
        _draw_novelty(folder, sums)
    whole = rows[0]
    facts = {
        "training": sums.training,
        "observed": whole["stars"],
        "unlike": whole["unlike"],
        "unlike_fraction": whole["unlike"] / max(whole["stars"], 1),
        "novel": whole["novel"],
        "rule": _rule(config),
    }
    return MapRecord(
        "tsne", origin, facts, tuple(_sentences(whole, config)), TABLES, FIGURES, columns
    )


def _rule(config: TsneMapConfig) -> str:
    return (
        f"unlike: the {config.neighbours}-th nearest training star lies farther on the map than "
        f"it does for {100 * config.quantile:g} % of the training stars"
    )


def _sentences(whole: Row, config: TsneMapConfig) -> list[str]:
    count, unlike = whole["stars"], whole["unlike"]
    share = 100 * unlike / max(count, 1)
    return [
        f"{unlike:,} of {count:,} observed stars ({share:.1f} %) are unlike the training sample on "
        f"the map ({_rule(config)}).",
        f"The novelty score takes {whole['novel']:,} for novel; {whole['both']:,} are both. "
        "The published map had 171,728 of 841,300 observed stars unlike (20.4 %).",
    ]


def comparison_rows(sums: TsneSums) -> list[Row]:
    """One row for all observed stars, then one per S/N bin that has some."""
    numbers = sorted({number for number, _, _ in sums.counts})
    rows = [_comparison("all", [sums.counts], None)]
    return rows + [
        _comparison(bin_name(number, SNR_EDGES), [sums.counts], number) for number in numbers
    ]


def _comparison(
    name: str, counts: list[dict[tuple[int, bool, bool], int]], number: int | None
) -> Row:
    def total(unlike: bool | None, novel: bool | None) -> int:
        return sum(
            count
            for table in counts
            for (snr, is_unlike, is_novel), count in table.items()
            if (number is None or snr == number)
            and (unlike is None or is_unlike == unlike)
            and (novel is None or is_novel == novel)
        )

    return {
        "snr": name,
        "stars": total(None, None),
        "unlike": total(True, None),
        "novel": total(None, True),
        "both": total(True, True),
        "only_unlike": total(True, False),
        "only_novel": total(False, True),
        "neither": total(False, False),
    }


def _blocks(stars: Path, columns: list[str] | None) -> Iterator[dict[str, Array]]:
    for file in sorted(stars.glob("*.parquet")):
        table = pq.read_table(file, columns=columns)
        yield {name: table[name].to_numpy() for name in table.column_names}


def _ranges(stars: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    edges = {"x": (np.inf, -np.inf), "y": (np.inf, -np.inf)}
    for block in _blocks(stars, ["x", "y"]):
        for name, (low, high) in edges.items():
            values = block[name]
            edges[name] = (min(low, float(values.min())), max(high, float(values.max())))
    wide = {name: 0.02 * (high - low) + 1e-6 for name, (low, high) in edges.items()}
    (x, y) = ((edges[n][0] - wide[n], edges[n][1] + wide[n]) for n in ("x", "y"))
    return x, y


def _image(x: Array, y: Array, x_range: tuple[float, float], y_range: tuple[float, float]) -> Array:
    found, _, _ = np.histogram2d(y, x, bins=PIXELS, range=(y_range, x_range))
    return np.asarray(found, np.int64)


def _draw_kinds(folder: Path, sums: TsneSums) -> None:
    figure, drawn = panels(1, 3, width=4.0, height=4.3)
    titles = {
        "training": "training stars",
        "like": "observed, train-like",
        "unlike": "observed, unlike",
    }
    for axes, (name, title) in zip(drawn[0], titles.items(), strict=True):
        image = readable(sums.images[name])
        if image.any():
            draw_density(axes, image, sums.x_range, sums.y_range)
        axes.set(xlim=sums.x_range, ylim=sums.y_range, xticks=[], yticks=[])
        axes.set_title(f"{title}: {int(image.sum()):,}")
        axes.set_xlabel(_NO_UNIT)
    save_figure(figure, folder, "kinds")


def _draw_novelty(folder: Path, sums: TsneSums) -> None:
    figure, ((axes,),) = panels(1, 1, width=5.6, height=4.6)
    novel, seen = (enlarged(sums.images[name], 6) for name in ("novel", "observed"))
    share = np.where(seen > 0, novel / np.maximum(seen, 1), np.nan)
    shown = axes.imshow(
        share,
        extent=(*sums.x_range, *sums.y_range),
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    figure.colorbar(shown, ax=axes, label="fraction of stars with novelty above 1")
    axes.set(xticks=[], yticks=[], xlabel=_NO_UNIT)
    save_figure(figure, folder, "novelty")
