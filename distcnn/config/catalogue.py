"""Settings of a catalogue that labels are compared with: where its columns are, and its cuts."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distcnn.config.base import Frozen, LocalPath
from distcnn.config.reading.yaml_file import conf_folder, read_yaml
from distcnn.config.survey.files import CutConfig
from distcnn.formatting import did_you_mean


class TextCutConfig(Frozen):
    """One cut on a column of text: rows whose text does not match are left out."""

    column: str
    """Column of the catalogue."""
    pattern: str
    """Regular expression that the whole text must match: ``0{13}.*`` for the best of GSP-Spec."""

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        return pattern


class CatalogueConfig(Frozen):
    """A catalogue of labels, in any format of tables that ``distcnn ingest`` reads.

    ``preset`` names a file of ``conf/catalogues``, whose keys count where they are not given.
    """

    preset: str = ""
    """Name of a known catalogue; empty = none."""
    path: LocalPath | None = None
    """The table: FITS, Parquet, VOTable, CSV or ECSV; null = there is none."""
    name: str = ""
    """How results call it; empty = the name of its file."""
    match: Literal["source_id", "position"] = "source_id"
    """How its rows are matched with stars: by identifier, or by place on the sky."""
    radius_arcsec: float = Field(1.0, gt=0, le=60)
    """Largest separation of a match by position [arcsec]."""
    columns: dict[str, str | tuple[str, str]] = Field(default_factory=dict)
    """Column of the catalogue for ``source_id``, ``ra``, ``dec`` [deg], labels (``teff``), their
    errors (``teff_error``; two columns are the ends of a 68 % interval) and ``cluster``."""
    cuts: tuple[CutConfig, ...] = ()
    """Rows that fail one of these are left out."""
    text_cuts: tuple[TextCutConfig, ...] = ()
    """Rows that fail one of these are left out."""
    hdu: int | str = 1
    """Number or name of the table extension of a FITS file, or of the TABLE of a VOTable."""
    delimiter: str = ""
    """For text tables: what parts the columns; empty: as for ``ingest``."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, section: Any) -> Any:
        preset = section.get("preset") if isinstance(section, dict) else None
        return (
            {**_read_preset(preset), **section} if isinstance(preset, str) and preset else section
        )

    @property
    def title(self) -> str:
        """Its name, the preset's, or that of its file."""
        return self.name or self.preset or (self.path.name if self.path else "a catalogue")


def catalogue_presets() -> list[str]:
    """Names of the catalogues whose columns are known."""
    return sorted(file.stem for file in _folder().glob("*.yaml"))


def _folder() -> Path:
    return conf_folder() / "catalogues"


def _read_preset(name: str) -> dict[str, Any]:
    known = catalogue_presets()
    if name not in known:
        raise ValueError(
            f"one of {', '.join(known)}. {did_you_mean(name, known, 'Or give columns.')}"
        )
    return read_yaml(_folder() / f"{name}.yaml")[0]
