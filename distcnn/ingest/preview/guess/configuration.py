"""The guessed configuration as text, a reason behind every line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distcnn.errors import InputError
from distcnn.ingest.preview.guess.identifiers import guess_id
from distcnn.ingest.preview.guess.images import of_images
from distcnn.ingest.preview.guess.layout_guess import MIN_PIXELS, LayoutGuess
from distcnn.ingest.preview.guess.tables import names_of_columns, of_tables
from distcnn.ingest.preview.guess.wavelengths import grid_lines, guess_statements
from distcnn.ingest.readers.formats.containers import table_sources
from distcnn.ingest.readers.layouts.spectrum_file import opened
from distcnn.ingest.selection import known_ending


def guess(path: Path) -> str:
    """YAML of a configuration for a file.

    Raises
    ------
    InputError : nothing in it looks like a spectrum, or it cannot be read.
    """
    source = next(table_sources(path))
    names = names_of_columns(source)
    with opened(source, columns=names) as file:
        found = of_images(file) or of_tables(file)
        if found is None:
            raise InputError(
                f"{path}: nothing in it looks like a spectrum",
                expected=f"an array or image row of {MIN_PIXELS} numbers or more",
                cure=f"{file.contents()}Write a 'layout' by hand; conf/surveys has examples.",
            )
        if names:
            found.set("text_columns", names, "guess: the first line has no names, in this order")
        guess_id(found, file, path)
        stated = guess_statements(found, file)
        return "\n".join([*_head(path, found), *grid_lines(found, file, stated), *_tail()]) + "\n"


def _head(path: Path, guess: LayoutGuess) -> Iterator[str]:
    yield f"# A first configuration for files like {path.name}, guessed from this one file."
    yield "# Look at every line that says guess, then: distcnn ingest --try FILE --conf THIS_FILE"
    yield "ingest:"
    yield "  survey: my_survey  # GIVE IT a name"
    yield "  release: unknown  # GIVE IT"
    yield "  spectra:"
    yield "    reader: described"
    yield f'    files: "*{known_ending(path.name) or path.name}"  # guess: by the ending'
    yield "    layout:"
    for key, value in guess.values.items():
        yield f"      {key}: {_yaml(value)}  # {guess.why[key]}"


def _tail() -> Iterator[str]:
    yield "  source: null  # a table with positions and magnitudes, if you have one"
    yield "  source_required: false"
    yield "  xp: null"
    yield "  labels: null  # a table of labels, if you have one"
    yield "  prepare:"
    yield "    # A common grid, if the wavelengths of your files differ:"
    yield "    # target: {start: ..., step: ..., size: ..., unit: Angstrom, medium: vacuum}"
    yield "    normalisation: running_quantile  # guess; none if the fluxes are normalised"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else '"' + str(value).replace('"', '\\"') + '"'
