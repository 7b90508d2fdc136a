"""A package as a page of text: what it is, from what, and how far it may be believed."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from distcnn import hashing
from distcnn.labels import present
from distcnn.manifest import Manifest, no_package
from distcnn.report.text.package_evaluation import describe_agreement, describe_test_results
from distcnn.report.text.package_stacking import describe_stacking
from distcnn.report.text.table import (
    Row,
    aligned,
    covered,
    is_finite,
    is_known,
    label_grid,
    label_title,
    label_value,
    plain_value,
    read_json,
    sparkline,
)

_PARTS = {
    "train": "fits the weights",
    "validation": "stops training, selects members",
    "calibration": "fits errors and flags",
    "test": "opened once, when all was done",
}

_PARTS_IF_IMPORTED = _PARTS | {
    "train": "fits limits, novelty, what stands for missing inputs",
    "validation": "fits the sizes of the errors",
}


def describe_package(path: Path) -> Iterator[str]:
    """Lines of text; what a package of another version lacks is left out.

    Raises
    ------
    PackageError : its manifest is not readable.
    """
    data = (path / "manifest.json").read_bytes()
    try:
        manifest = Manifest.from_bytes(data)
    except ValueError as error:
        raise no_package(path, error) from None
    with present(manifest.own_labels):
        lines = list(_lines(path, manifest, data))
    yield from lines


def _lines(path: Path, manifest: Manifest, data: bytes) -> Iterator[str]:
    yield from _head(path, manifest, hashing.of_bytes(data))
    parts = (
        ("network", _network(manifest)),
        ("regressions beside the networks (stacking)", describe_stacking(manifest)),
        ("distilled from an ensemble", _distilled(manifest)),
        ("trained elsewhere", _imported(manifest)),
        ("data", _data(manifest)),
        ("split, by a hash of source_id", _split(manifest)),
        ("limits: beyond them a flag says so", _limits(path, manifest)),
        ("coverage [%] of the quoted errors on calibration stars", _coverage(manifest)),
        ("attenuation: slope of predicted against true", _attenuation(manifest)),
        ("ensemble size", _sizes(manifest)),
        ("members", () if manifest.imported else _members(path, manifest)),
        ("test split", describe_test_results(path)),
        ("agreement of the student with its ensemble, on the test split", describe_agreement(path)),
        ("settings of training", () if manifest.imported else _settings(manifest.train)),
        ("versions", _versions(manifest)),
    )
    for head, lines in parts:
        for count, line in enumerate(lines):
            if count == 0:
                yield from ("", head)
            yield f"  {line}".rstrip()


def _head(path: Path, manifest: Manifest, digest: str) -> Iterator[str]:
    files = manifest.files
    members = sum("member" in name and name.endswith(".safetensors") for name in files)
    labels = manifest.label_names
    what = f"a package of {members} members"
    if manifest.distilled is not None:
        what = f"a student of an ensemble of {manifest.distilled.members} members"
    yield f"{path}: {what}" + (f" for {', '.join(labels)}" if labels else "")
    yield f"  digest        {digest}"
    missing = [name for name in files if not (path / name).is_file()]
    changed = [
        name
        for name in sorted(set(files) - set(missing))
        if hashing.of_bytes((path / name).read_bytes()) != files[name]
    ]
    if missing or changed:
        found = [f"missing: {', '.join(missing)}"] if missing else []
        found += [f"changed: {', '.join(changed)}"] if changed else []
        yield f"  complete      no, {'; '.join(found)}"
    else:
        yield f"  complete      yes, {len(files)} files with the digests of the manifest"


def _network(manifest: Manifest) -> Iterator[str]:
    network, spec = manifest.network, manifest.spec
    if network:
        sizes = [f"{k} {network[k]}" for k in ("width", "hidden", "dropout") if k in network]
        preset = str(network.get("preset", ""))
        yield f"{preset}, layers of its own" if manifest.imported else ", ".join([preset, *sizes])
    inputs = []
    if spec.pixels:
        inputs.append(f"spectrum of {spec.pixels:,} pixels ({network.get('flux', '?')} flux)")
    if spec.coefficients:
        inputs.append(f"{spec.coefficients} XP coefficients")
    if spec.bands:
        inputs.append(" ".join(spec.bands))
    if spec.astrometry:
        inputs.append("parallax")
    inputs += spec.scalars
    if inputs:
        yield f"sees {', '.join(inputs)}"


def _distilled(manifest: Manifest) -> Iterator[str]:
    distilled = manifest.distilled
    if distilled is None:
        return
    yield "one network that gives label, noise, scatter and correlation as they do"
    yield f"{'ensemble':12s} {distilled.teacher}"
    yield f"{'stars':12s} {distilled.stars:,} of the survey, labelled or not"
    plain = {k: v for k, v in distilled.settings.items() if not isinstance(v, Mapping)}
    yield ", ".join(f"{key} {plain_value(value)}" for key, value in plain.items())


def _imported(manifest: Manifest) -> Iterator[str]:
    found = manifest.imported
    if found is None:
        return
    yield f"networks of {found.format} with {found.parameters:,} weights, kept as they are; errors,"
    yield "limits and flags are of the labelled stars below, if it was trained on none of them"
    yield from (f"{n:24s} {d}" for n, d in zip(found.files, found.digests, strict=True))


def _data(manifest: Manifest) -> Iterator[str]:
    digests = {
        **dict(manifest.survey),
        "used values": manifest.fingerprint.get("data"),
        "wavelengths": manifest.spec.wavelength_digest,
    }
    yield from (f"{name:12s} {value}" for name, value in digests.items() if value)


def _split(manifest: Manifest) -> Iterator[str]:
    split = manifest.split
    if not split.stars:
        return
    rows = [
        [
            part,
            f"{fraction:.3g}",
            f"{split.stars.get(part, 0):,}",
            split.source_id.get(part, "")[:16],
        ]
        for part, fraction in split.fractions.items()
    ]
    table = aligned([["part", "fraction", "stars", "digest of source_id"], *rows], left=(0, 3))
    uses = ["", *(_PARTS_IF_IMPORTED if manifest.imported else _PARTS).values()]
    yield from (f"{line:58s} {use}".rstrip() for line, use in zip(table, uses, strict=True))
    yield f"seed {split.seed}, rotated by {split.rotate:g}"
    if split.method == "folds":
        yield f"{split.folds} folds: fractions are those of one member; stars outside test train"
        yield "other members than those that predict them where errors are fitted"


def _limits(path: Path, manifest: Manifest) -> Iterator[str]:
    arrays, names = _quality(path), manifest.label_names
    if len(arrays.get("limits.label", ())) != len(names) or not names:
        return
    typical = manifest.label_sigma or [math.nan] * len(names)
    rows = [
        [
            label_title(name),
            label_value(low, name),
            label_value(high, name),
            label_value(sigma, name),
        ]
        for name, (low, high), sigma in zip(names, arrays["limits.label"], typical, strict=True)
    ]
    yield from aligned([["label", "from", "to", "typical error"], *rows])
    others = (
        ("limits.magnitude", "reference magnitude", "mag"),
        ("limits.parallax", "parallax", "mas"),
        ("calibration.snr_range", "S/N that was calibrated", ""),
    )
    for key, name, unit in others:
        low, high = arrays.get(key, (math.nan, math.nan))
        if math.isfinite(low):
            yield f"{name}: {low:.4g} to {high:.4g} {unit}".rstrip()


def _coverage(manifest: Manifest) -> Iterator[str]:
    rows = [row for row in manifest.coverage if row.get("stars")]
    if not rows:
        return
    plain = [row for row in rows if row.get("cell", "all") == "all"]
    yield "within the 68.3 / 95.4 % interval (about 1 / 2 errors)"
    yield from label_grid(plain, "snr", "S/N", covered)
    cells = [row for row in rows if "cell" in row and row["snr"] == "all"]
    if len({row["cell"] for row in cells}) > 1:
        yield ""
        yield from label_grid(cells, "cell", "", covered)


def _attenuation(manifest: Manifest) -> Iterator[str]:
    rows = [row for row in manifest.attenuation if is_known(row, "slope")]
    if not rows:
        return
    if any(is_known(row, "slope_debiased") for row in rows):
        yield "as predicted / debiased"
    yield from label_grid(rows, "snr", "S/N", _slopes)


def _slopes(row: Row) -> str:
    text = f"{row['slope']:.3f}"
    return f"{text} / {row['slope_debiased']:.3f}" if is_known(row, "slope_debiased") else text


def _sizes(manifest: Manifest) -> Iterator[str]:
    rows = [row for row in manifest.ensemble_size if row.get("snr", "all") == "all"]
    rows = [row for row in rows if is_known(row, "std") and is_known(row, "within_68")]
    if not rows:
        return
    yield "std of residuals / % within 1 error, calibrated for each size"
    yield from label_grid(rows, "members", "members", _size)


def _size(row: Row) -> str:
    return f"{label_value(row['std'], row['label'])} / {100 * row['within_68']:.1f}"


def _members(path: Path, manifest: Manifest) -> Iterator[str]:
    curves = {curve.get("member"): curve for curve in read_json(path / "curves.json", [])}
    if not manifest.members:
        return
    table = []
    for member in manifest.members:
        epochs = curves.get(member.member, {}).get("epochs", [])
        table.append(
            [
                "" if member.member is None else str(member.member),
                "" if member.seed is None else str(member.seed),
                "" if member.best is None else f"{member.best + 1} of {len(epochs) or '?'}",
                f"{member.validation:.4f}" if is_finite(member.validation) else "",
                sparkline([validation for _, validation in epochs]),
            ]
        )
    head = ["member", "seed", "best epoch", "validation", "validation loss by epoch"]
    yield from aligned([head, *table], left=(4,))


def _settings(train: Row) -> Iterator[str]:
    plain = {k: v for k, v in train.items() if not isinstance(v, Mapping) and v is not None}
    if plain:
        yield ", ".join(f"{key} {plain_value(value)}" for key, value in plain.items())
    for key in ("augment", "loss", "distribute"):
        if isinstance(train.get(key), Mapping):
            inside = ", ".join(f"{k} {plain_value(v)}" for k, v in train[key].items())
            yield f"{key}: {inside}"


def _versions(manifest: Manifest) -> Iterator[str]:
    found = {"distcnn": manifest.distcnn_version, **manifest.versions}
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    if text:
        yield text


def _quality(path: Path) -> dict[str, Any]:
    try:
        return dict(load_arrays((path / "quality.safetensors").read_bytes()))
    except (OSError, SafetensorError):
        return {}
