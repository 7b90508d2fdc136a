"""From files of spectra to a survey store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config
from distcnn.errors import UsageError
from distcnn.events import Listener, silent
from distcnn.location import Address, LocalLocation, Location, contents_of
from distcnn.pipeline.running import (
    logging_beside,
    must_exist,
    must_have_room,
    on_workers,
    places_of,
    with_places,
    work_of,
)

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.ingest import IngestSummary
    from distcnn.ingest.preview import FilePreview


@with_places
def simulate_archive(
    out: Path,
    stars: int,
    seed: int,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> dict[str, int]:
    """Write ``stars`` simulated stars as archive files into ``out``; returns counts.

    ``restart``: remove first what an earlier run has left unfinished; here and below.
    """
    from distcnn.clusters import open_cluster
    from distcnn.simulate import discard_unfinished, write_archive

    must_have_room(out, "archive files")
    if restart:
        discard_unfinished(out)
    with open_cluster(logging_beside(config.cluster, out), listener) as executor:
        executor.preflight(places_of({}, out), listener)
        return write_archive(
            out, stars, seed, config.simulate, executor=executor, listener=listener
        )


@with_places
def ingest_archive(
    archive: Path,
    survey: Address,
    config: Config,
    listener: Listener = silent,
    *,
    restart: bool = False,
) -> "IngestSummary":
    """Turn the archive files in ``archive`` into the store ``survey``."""
    from distcnn.ingest import build_survey, discard_unfinished
    from distcnn.survey import Store

    must_exist(archive, "an archive folder")
    if restart:
        discard_unfinished(survey)

    def work(executor: "ClusterExecutor", watched: Listener) -> "IngestSummary":
        return build_survey(archive, survey, config.ingest, executor=executor, listener=watched)

    places = places_of({"archive": archive, **work_of(survey)}, survey)
    done = on_workers(config.cluster, config, listener, places, work)
    # A hint for reports, not an identity: both may be moved together.
    store = Store.open(survey)
    store.annotate({"archive": Location.parse(archive).relative_to(store.location)})
    return done


def try_files(
    paths: Sequence[Path], config: Config, png: Path | None = None
) -> "list[FilePreview]":
    """What a configuration makes of files of spectra, without writing a survey.

    Parameters
    ----------
    png : folder for a figure of each file; None for none.
    """
    from distcnn.ingest.preview import preview_file

    for path in paths:
        _must_be_file(path)
    previews = [preview_file(path, config.ingest) for path in paths]
    for preview in previews:
        if png is not None and preview.spectra:
            draw_preview(preview, png / f"{preview.path.name}.png")
    return previews


def _must_be_file(path: Path) -> None:
    must_exist(path, "a file of spectra")
    if path.is_dir():
        raise UsageError(f"{path} is {contents_of(LocalLocation(path))}", expected="a file of it")


def draw_preview(preview: "FilePreview", path: Path) -> None:
    """Draw the spectra of a preview as PNG."""
    from distcnn.report.figures.preview import save_spectra

    stored = preview.stored
    axis = f"wavelength [{stored.unit}, {stored.medium}, {stored.frame}]"
    titles = [f"{preview.path.name}  {one.title}" for one in preview.spectra]
    save_spectra(path, preview.spectra, titles, preview.line_places, axis)


def describe_previews(previews: "Sequence[FilePreview]", config: Config) -> list[str]:
    """The text of ``distcnn ingest --try``."""
    from distcnn.ingest.preview import describe_preview

    return [describe_preview(preview, config.ingest) for preview in previews]


def list_configurations() -> str:
    """Names of the configurations that come along, each with its first words."""
    from distcnn.config import shipped_configurations

    return "\n".join(f"{name:<22} {words}" for name, words in shipped_configurations().items())


def guess_configuration(path: Path) -> str:
    """A first configuration for a file of spectra, every guess marked by a comment."""
    from distcnn.ingest.preview.guess import guess

    _must_be_file(path)
    return guess(path)
