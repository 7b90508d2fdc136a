"""Figures of the map of the Galaxy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from distcnn.config import GalaxyMapConfig
from distcnn.maps.drawing import add_density_scale, draw_density, new_figure, readable
from distcnn.maps.galaxy.sums import ALPHA_EDGES, IMAGES, METALLICITY_EDGES, GalaxySums
from distcnn.maps.record import Exhibit
from distcnn.stats import bin_name
from distcnn.style import BLUE, FAINT_INK, INK, MARKERS, ORANGE, RED, panels, save_figure, style

Rows = Sequence[Mapping[str, Any]]
_AXES = {
    "radius": "R [kpc]",
    "height": "Z [kpc]",
    "x": "X [kpc]",
    "y": "Y [kpc]",
    "mh": "[M/H] [dex]",
    "alpham": "[α/M] [dex]",
}
_CAPTIONS = {
    "plane": Exhibit(
        "Stars in R and Z",
        "All mapped stars; the Sun is the circle. Every shade covers as many pixels as any other.",
    ),
    "disc": Exhibit(
        "Stars seen from above",
        "All mapped stars; the Sun is the circle. Every shade covers as many pixels as any other.",
    ),
    "alpha": Exhibit(
        "[α/M] and [M/H]",
        "All mapped stars, wherever they are. Every shade covers as many pixels as any other.",
    ),
}
_SEQUENCES = {
    "all": ("all stars", INK),
    "low_alpha": ("low-α sequence", RED),
    "high_alpha": ("high-α sequence", ORANGE),
    "metal_poor": ("metal-poor stars", BLUE),
}
_COMPONENTS = ("low_alpha", "high_alpha")


def draw_galaxy(
    folder: Path, sums: GalaxySums, tables: Mapping[str, Rows], config: GalaxyMapConfig
) -> dict[str, Exhibit]:
    """Write all figures; returns their captions by name, in the order of a page."""
    shown = {}
    with style():
        for number in range(len(config.snr_edges)):
            name = f"mosaic_{number}"
            save_figure(_draw_mosaic(sums, tables["mosaic"], number, config), folder, name)
            snr = bin_name(number + 1, config.snr_edges)
            shown[name] = Exhibit(
                f"[α/M] and [M/H] by place, S/N {snr}",
                "Columns: distance R from the axis, rows: distance |Z| from the plane, in kpc. "
                "Shade: number of stars, by rank within the panel. Ellipses: the components, 1 "
                "sigma, errors taken off, where two are preferred. Above each panel: number of "
                "stars, and by how much the BIC prefers two components.",
            )
        _draw_gradients(folder, tables["gradients"])
        shown["gradients"] = Exhibit(
            "Radial gradient of [M/H]",
            "By distance from the plane: of all stars and of the components of a mixture, with "
            "standard errors; errors of labels and places are part of the model.",
        )
        for image in IMAGES:
            _draw_image(folder, sums, image.name, config)
            shown[image.name] = _CAPTIONS[image.name]
    return shown


def _draw_mosaic(sums: GalaxySums, rows: Rows, snr: int, config: GalaxyMapConfig) -> Figure:
    columns, layers = len(config.radius_edges) - 1, len(config.height_edges) - 1
    width, height = 2.0 * columns + 0.7, 1.75 * layers + 1.25
    figure = new_figure(width, height)
    axes = figure.subplots(layers, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.1 / width,
        bottom=0.5 / height,
        top=1 - 0.75 / height,
        wspace=0.08,
        hspace=0.24,
    )
    for radius in range(columns):
        for layer in range(layers):
            row = rows[(snr * columns + radius) * layers + layer]
            counts = sums.mosaic[snr, radius, layer]
            # The highest layer stands at the top.
            _draw_cell(axes[layers - 1 - layer, radius], counts, row)
        axes[-1, radius].set_xlabel(_AXES["mh"])
        title = f"R {_span(config.radius_edges, radius)}"
        axes[0, radius].annotate(
            title, (0.5, 1.2), xycoords="axes fraction", ha="center", weight="bold"
        )
        for ax in axes[:-1, radius]:
            ax.set_xticklabels([])
    for layer in range(layers):
        text = f"|Z| {_span(config.height_edges, layer)}"
        axes[layers - 1 - layer, 0].set_ylabel(f"{text}\n{_AXES['alpham']}")
        for ax in axes[layer, 1:]:
            ax.set_yticklabels([])
    lines = [Line2D([], [], color=_SEQUENCES[name][1]) for name in _COMPONENTS]
    texts = [_SEQUENCES[name][0] for name in _COMPONENTS]
    figure.legend(lines, texts, loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.0))
    return figure


def _span(edges: Sequence[float], number: int) -> str:
    return f"{edges[number]:g} to {edges[number + 1]:g} kpc"


def _draw_cell(axes: Axes, counts: np.ndarray[Any, Any], row: Mapping[str, Any]) -> None:
    x, y = METALLICITY_EDGES, ALPHA_EDGES
    if counts.any():
        draw_density(axes, counts.T, (x[0], x[-1]), (y[0], y[-1]))
    axes.set(xlim=(-1.6, 0.7), ylim=(-0.15, 0.45), xticks=(-1, 0), yticks=(0, 0.2, 0.4))
    text = "1 star" if row["stars"] == 1 else f"{row['stars']:,} stars"
    if row["components"]:
        text += f",  ΔBIC {row['delta_bic']:+,.0f}"
        if row["components"] == 2:
            for name in _COMPONENTS:
                _draw_component(axes, row, name.removesuffix("_alpha"), _SEQUENCES[name][1])
    axes.set_title(text, fontsize=8, weight="normal", color=FAINT_INK)


def _draw_component(axes: Axes, row: Mapping[str, Any], kind: str, colour: str) -> None:
    x, y = row[f"mh_width_{kind}"], row[f"alpham_width_{kind}"]
    both = row[f"correlation_{kind}"] * x * y
    # The curve at one sigma is the unit circle under a root of the covariance.
    root = np.linalg.cholesky(np.array([[x**2, both], [both, y**2]]) + 1e-12 * np.eye(2))
    angle = np.linspace(0, 2 * np.pi, 90)
    curve = root @ np.stack([np.cos(angle), np.sin(angle)])
    axes.plot(row[f"mh_{kind}"] + curve[0], row[f"alpham_{kind}"] + curve[1], color=colour, lw=1.3)


def _draw_gradients(folder: Path, rows: Rows) -> None:
    figure, ((axes,),) = panels(1, 1, width=6.8, height=3.8)
    layers = sorted({(row["height_low"], row["height_high"]) for row in rows})
    for number, (sequence, (text, colour)) in enumerate(_SEQUENCES.items()):
        some = [row for row in rows if row["sequence"] == sequence]
        place = [layers.index((row["height_low"], row["height_high"])) for row in some]
        axes.errorbar(
            np.array(place) + 0.12 * (number - 1.5),
            [row["gradient"] for row in some],
            [row["gradient_error"] for row in some],
            fmt=MARKERS[number],
            color=colour,
            label=text,
            ms=5,
            capsize=2,
        )
    axes.axhline(0, color=FAINT_INK, lw=0.8)
    axes.set_xticks(range(len(layers)), [f"{low:g} to {high:g}" for low, high in layers])
    axes.set(xlabel="|Z| [kpc]", ylabel="d[M/H]/dR [dex/kpc]")
    figure.legend(loc="outside upper left", ncols=4)
    save_figure(figure, folder, "gradients")


def _draw_image(folder: Path, sums: GalaxySums, name: str, config: GalaxyMapConfig) -> None:
    frame = next(image for image in IMAGES if image.name == name)
    height = 6.4 if frame.size[0] == frame.size[1] else 4.8
    figure, ((axes,),) = panels(1, 1, width=6.9, height=height)
    counts = readable(sums.images[name])
    if counts.any():
        draw_density(axes, counts, frame.x_range, frame.y_range)
        add_density_scale(figure, axes, counts)
    axes.set(xlim=frame.x_range, ylim=frame.y_range)
    axes.set(xlabel=_AXES[frame.x], ylabel=_AXES[frame.y])
    sun = {"plane": (config.sun_radius, config.sun_height), "disc": (-config.sun_radius, 0.0)}
    if name in sun:
        axes.plot(*sun[name], "o", mfc="none", mec=RED, ms=8, mew=1.5, label="the Sun")
        axes.legend(loc="upper right")
    save_figure(figure, folder, name)
