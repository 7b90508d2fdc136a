"""Every configuration of conf/surveys on files of its survey, in one table with a figure each.

    [DISTCNN_DATA=folder] python benchmarks/surveys.py [--out FOLDER] [--readme FILE] [NAME ...]

Real files are those of ``DISTCNN_DATA/real_files``; for surveys without one, files are written in
the published layout, of stars whose lines and velocities are known. ``velocity`` is that of the
known lines in what would be stored, beside what is known of the star: the file's own value, or
that of the writer.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distcnn import pipeline
from distcnn.config import Config, conf_folder, load_config
from distcnn.ingest.preview import FilePreview, SpectrumPreview
from distcnn.ingest.selection import ArchiveTree, find_files

sys.path.insert(0, str(Path(__file__).parent))
from lib.survey_files import WRITERS, write_survey

REAL = {
    "lamost_lrs": "lamost_lrs",
    "lamost_mrs": "lamost_mrs",
    "sdss_boss": "sdss_boss",
    "apogee_apvisit": "apogee",
    "desi": "desi",
    "fourmost_4fs": "fourmost",
}
HEAD = (
    "| survey | files | read | spectra | ids | pixels | range | medium, frame (said by) | lines | "
    "velocity [km/s] | known | S/N | errors | masks | not used | normalisation |\n"
    + "|---" * 16
    + "|"
)


PREAMBLE = """# Files of surveys

One configuration per survey (`--conf NAME`); how sure its layout is stands in its first lines. What
becomes of real files, or where none is at hand of files written in the published layout with lines
at known velocities, made by `DISTCNN_DATA=folder make surveys`:

"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    survey: str
    files: str
    """``real`` or ``written``."""
    read: str
    """Files read, of those that there are."""
    spectra: int
    ids: str
    pixels: int
    range: str
    said: str
    lines: int
    velocity: str
    known: str
    snr: str
    errors: str
    masks: str
    unused: str
    normalisation: str

    def __str__(self) -> str:
        return f"| {' | '.join(str(value) for value in asdict(self).values())} |"


def look_at(name: str, folder: Path, known: dict[str, float], out: Path, kind: str) -> Row:
    """The row of a survey; draws its first file with spectra."""
    config = load_config(Path(name))
    assert config.ingest.spectra is not None
    paths = find_files(ArchiveTree(folder), config.ingest.spectra).paths
    previews = pipeline.try_files(paths, config)
    good = [preview for preview in previews if preview.error is None]
    for preview in previews:
        if preview.error is not None:
            print(f"{preview.path.name}: {preview.error}", file=sys.stderr)
    best = max((preview for preview in good if preview.spectra), key=lambda p: p.spectra[0].snr)
    pipeline.draw_preview(best, out / f"{name}.png")
    (out / f"{name}.txt").write_text("\n\n".join(pipeline.describe_previews(previews, config)))
    return _row(good, best, known, config, (name, kind, f"{len(good)}/{len(previews)}"))


def _row(
    good: list[FilePreview],
    best: FilePreview,
    known: dict[str, float],
    config: Config,
    head: tuple[str, str, str],
) -> Row:
    spectra = [one for preview in good for one in preview.spectra]
    first, stored = best.spectra[0], best.stored
    with_lines = [one for one in spectra if one.lines.velocity]
    said = {
        part: "file" if getattr(best.stated, part) is not None else "configuration"
        for part in ("medium", "frame")
    }
    return Row(
        *head,
        sum(preview.count for preview in good),
        first.name or str(first.source_id),
        len(first.wavelength),
        f"{first.wavelength[0]:.6g}-{first.wavelength[-1]:.6g} {stored.unit}",
        f"{best.grid.medium} ({said['medium']}), {best.grid.frame} ({said['frame']})",
        max((len(one.lines.velocity) for one in spectra), default=0),
        ", ".join(f"{one.lines.median:+.0f}" for one in with_lines) or "none found",
        ", ".join(_known(one, known) for one in with_lines) or "-",
        ", ".join(f"{one.snr:.0f}" for one in spectra[:4]),
        _errors(best, config),
        _masks(config),
        f"{100 * float(np.mean([1 - one.good for one in spectra])):.1f}%",
        config.ingest.prepare.normalisation,
    )


def _errors(preview: FilePreview, config: Config) -> str:
    """Kind of error, and who says so."""
    said = preview.stated.error_kind
    if said is not None:
        return f"{said.value} (file)"
    layout = config.ingest.spectra.layout if config.ingest.spectra else None
    return f"{layout.error_kind} (configuration)" if layout is not None else "sigma"


def _masks(config: Config) -> str:
    """Masks and how many of their bits drop a pixel."""
    layout = config.ingest.spectra.layout if config.ingest.spectra else None
    if layout is None or not layout.masks:
        return "by error"
    return ", ".join(
        f"{mask.place}: {'any bit' if mask.drop == 'any' else f'{len(mask.drop)} bits'}"
        for mask in layout.masks
    )


def _known(one: SpectrumPreview, known: dict[str, float]) -> str:
    if one.shifted:
        return f"0 (shifted by {one.velocity:+.0f})"
    velocity = known.get(one.name or str(one.source_id), one.velocity)
    return f"{velocity:+.0f}" if np.isfinite(velocity) else "?"


def main() -> None:
    """Make the table, the texts and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/surveys"))
    parser.add_argument("--readme", type=Path, help="write the table here, too")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    names = asked.names or sorted(p.stem for p in (conf_folder() / "surveys").glob("*.yaml"))
    rows = []
    for name in names:
        if name in WRITERS:
            with tempfile.TemporaryDirectory() as folder:
                stars = write_survey(name, Path(folder))
                known = {star.name: star.velocity for star in stars}
                rows.append(look_at(name, Path(folder), known, asked.out, "written"))
        elif name in REAL:
            data = os.environ.get("DISTCNN_DATA")
            folder_of = Path(data or "") / "real_files" / REAL[name]
            if data is None or not folder_of.is_dir():
                print(f"{name}: no real files; DISTCNN_DATA names their folder", file=sys.stderr)
                continue
            rows.append(look_at(name, folder_of, {}, asked.out, "real"))
    table = "\n".join([HEAD, *map(str, rows)])
    for path in (asked.out / "surveys.md", *([asked.readme] if asked.readme else [])):
        path.write_text(PREAMBLE + table + "\n", encoding="utf-8")
    (asked.out / "surveys.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(table)
    print(f"Figures and texts: {asked.out}")


if __name__ == "__main__":
    main()
