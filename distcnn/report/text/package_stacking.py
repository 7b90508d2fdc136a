"""What a package says of the regressions beside its networks: weights, and what they gained."""

import math
from collections.abc import Iterator, Mapping

from distcnn.manifest import Manifest, StackingSection
from distcnn.report.text.table import aligned, label_title, label_value

ENSEMBLE, STACKED = "ensemble", "stacked"


def describe_stacking(manifest: Manifest) -> Iterator[str]:
    """Lines of text; none where the ensemble is all there is."""
    stacking = manifest.stacking
    if stacking is None or not manifest.label_names:
        return
    yield f"{', '.join(stacking.methods[1:])}: fitted to {stacking.stars:,} stars"
    tried = dict.fromkeys(name for row in stacking.labels for name in row if name != STACKED)
    if left_out := [name for name in tried if name not in stacking.methods]:
        yield f"left out, for they would take less than 1 % off: {', '.join(left_out)}"
    yield ""
    yield f"weight of each method in the label [%]{_places(stacking)}"
    yield from _weights(stacking, manifest.label_names)
    if stacking.labels:
        yield ""
        yield "std of labels of stars that no method has seen, and what stacking takes off it"
        yield from _scatter(stacking, manifest)


def _places(stacking: StackingSection) -> str:
    if len(stacking.knots) == 1:
        return ""
    return f", at S/N {' / '.join(f'{10**knot:.0f}' for knot in stacking.knots)}"


def _weights(stacking: StackingSection, labels: tuple[str, ...]) -> Iterator[str]:
    rows = [
        [
            label_title(name),
            *(
                " / ".join(f"{100 * knot[method][column]:.0f}" for knot in stacking.weights)
                for method in range(len(stacking.methods))
            ),
        ]
        for column, name in enumerate(labels)
    ]
    yield from aligned([["label", *stacking.methods], *rows])


def _scatter(stacking: StackingSection, manifest: Manifest) -> Iterator[str]:
    known = dict.fromkeys((*stacking.methods, *stacking.labels[0]))
    names = (*(name for name in known if name != STACKED), STACKED)
    rows = []
    for column, found in enumerate(stacking.labels):
        label, unit = manifest.label_names[column], _unit(manifest, column)
        cells = [_std(found, name, unit, label) for name in names]
        rows.append([label_title(label), *cells, _gain(found)])
    yield from aligned([["label", *names, "gain"], *rows])


def _std(found: Mapping[str, Mapping[str, float]], name: str, unit: float, label: str) -> str:
    return label_value(found[name]["std"] * unit, label) if name in found else ""


def _gain(found: Mapping[str, Mapping[str, float]]) -> str:
    own, stacked = (found.get(name, {}).get("std") for name in (ENSEMBLE, STACKED))
    return f"{100 * (1 - stacked / own):.0f} %" if own and stacked is not None else ""


def _unit(manifest: Manifest, column: int) -> float:
    """Label units in a unit of the scaling; of a logarithm at the middle of the labels."""
    scaling = manifest.scaling
    if scaling is None:
        return 1.0
    scale = scaling.label_scale[column]
    return scale * (
        math.exp(scaling.label_centre[column]) if scaling.label_logarithm[column] else 1
    )
