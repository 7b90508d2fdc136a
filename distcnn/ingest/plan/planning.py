"""Planning: find the files of an archive, and refuse a configuration that cannot be carried out."""

from collections.abc import Sequence
from pathlib import Path

from distcnn.config import FilesConfig, IngestConfig
from distcnn.errors import ConfigError, InputError
from distcnn.events import Listener, Notice
from distcnn.ingest.plan.ingest_plan import KINDS, IngestPlan
from distcnn.ingest.plan.read_requests import check_scalars, reader_of
from distcnn.ingest.plan.unlabelled import why_unlabelled
from distcnn.ingest.readers import Kind
from distcnn.ingest.readers.formats.containers import formats_of, is_zip
from distcnn.ingest.selection import ArchiveTree, find_files
from distcnn.location import Address, Location

_USED_BY = {"hdu": ("fits", "votable"), "delimiter": ("text",), "decimal": ("text",)}
"""Settings of files, and the formats that know them."""


def plan_ingest(
    archive: Path, survey: Address, config: IngestConfig, listener: Listener
) -> IngestPlan:
    """Find the files and check that the configuration can be carried out.

    Raises
    ------
    ConfigError : the configuration names no rows, a reader that does not exist, or a scalar where
        none is read.
    InputError : there is no such folder, or no such file in it.
    """
    if config.spectra is None and config.source is None:
        raise ConfigError(
            "ingest.spectra and ingest.source are both null",
            expected="at least one, to give the stars of the survey",
        )
    check_scalars(config)
    if not archive.is_dir():
        met = f"{archive} is a file" if archive.is_file() else f"there is no folder {archive}"
        raise InputError(
            met,
            expected="a folder of archive files",
            cure="Name the folder; the files in it are chosen by 'files' in the configuration.",
        )
    # Workers elsewhere have a working directory of their own.
    archive, survey = archive.absolute(), Location.parse(survey).address
    files: dict[Kind, list[Path]] = {}
    tree = ArchiveTree(archive)
    for kind in KINDS:
        section = getattr(config, kind)
        if section is not None:
            reader_of(config, kind)
            found = find_files(tree, section, required=kind != "labels")
            files[kind] = found.paths
            if found.paths:
                _check_used(kind, section, found.paths)
            for sentence in found.left_out:
                listener(Notice(f"Files of {kind}: {sentence}.", "warning"))
    unlabelled = why_unlabelled(tree, config, files)
    if unlabelled:
        _check_velocities_without_labels(config, unlabelled)
        del files["labels"]
        config = config.model_copy(update={"labels": None, "crosswalk": None})
        text = (
            f"The stars get no labels: {unlabelled}. That is right for stars to predict; for a "
            "training survey correct the folder or ingest.labels (null says that there are none)."
        )
        listener(Notice(text, "warning"))
    if config.crosswalk is not None and config.labels is not None:
        reader_of(config, "crosswalk")
        files["crosswalk"] = find_files(tree, config.crosswalk).paths
        _check_used("crosswalk", config.crosswalk, files["crosswalk"])
    place = Location.parse(survey)
    return IngestPlan(archive, place, config, files, tree.sizes, listener, unlabelled)


def _check_velocities_without_labels(config: IngestConfig, unlabelled: str) -> None:
    if config.velocity_files == "labels":
        raise InputError(
            f"{unlabelled}; the spectra are to be shifted by velocities of the label table",
            expected="a table of velocities of these stars",
            cure="Take velocities from source or spectra (ingest.prepare.rest_frame.velocity), "
            "which new stars have as well as labelled ones.",
        )


def _check_used(kind: Kind, section: FilesConfig, paths: Sequence[Path]) -> None:
    """Refuse settings that none of the files uses."""
    if section.members and not any(map(is_zip, paths)):
        raise ConfigError(
            f"ingest.{kind}.members = {section.members!r}",
            expected="zip archives to choose members of; none of the files is one",
            cure="Leave 'members' out, or correct 'files'.",
        )
    for name, formats in _USED_BY.items():
        value = getattr(section, name)
        if value == FilesConfig.model_fields[name].default:
            continue
        if not any(formats_of(path).intersection(("unknown", *formats)) for path in paths):
            raise ConfigError(
                f"ingest.{kind}.{name} = {value!r}",
                expected=f"a file of {' or '.join(formats)}, which it is for; there is none",
                cure=f"Leave {name!r} out, or correct 'files'.",
            )
