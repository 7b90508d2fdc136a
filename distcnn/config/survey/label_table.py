"""Settings of the reference labels: their table, what they mean, and whose they are."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from distcnn.config.base import Frozen, Names
from distcnn.config.survey.files import CutConfig, FilesConfig
from distcnn.schema import DEFAULT_LABELS, PREDICTION_VARIABLES, label_columns

_LABEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[ -~]{1,68}")
"""What every catalogue format can hold in a unit, UCD, symbol or sentence."""


class LabelInfoConfig(Frozen):
    """What is known of a label; null = as ``distcnn.schema`` has it, or a default."""

    unit: str | None = None
    """Unit (VOUnit), such as km/s; none by default."""
    symbol: str | None = None
    """Short text for axes and sentences; the name by default."""
    description: str | None = None
    """A sentence for the catalogue."""
    ucd: str | None = None
    """UCD1+, such as phys.veloc; from the unit by default."""

    @field_validator("unit", "symbol", "description", "ucd")
    @classmethod
    def _fits_every_catalogue(cls, text: str | None) -> str | None:
        if text is not None and (not _PLAIN.fullmatch(text) or "$" in text):
            raise ValueError("up to 68 plain (ASCII) characters, without $")
        return text


class LabelsConfig(FilesConfig):
    """The reference labels and the cuts on them."""

    labels: Names = DEFAULT_LABELS
    """Labels to take, in the order of the ``label`` dimension. Any names; beside the known ones
    (teff, logg, mh, alpham, feh, sife, alfe, mgfe, nife, ali) such as ``info`` describes."""
    info: dict[str, LabelInfoConfig] = Field(default_factory=dict)
    """Label -> its unit, symbol, description and UCD, where it is not among the known ones:
    ``{vmic: {unit: km/s, description: microturbulence}}``."""
    cuts: tuple[CutConfig, ...] = ()
    """Quality cuts; stars that fail stay in the survey without labels."""

    @field_validator("labels")
    @classmethod
    def _can_be_columns(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if not labels:
            raise ValueError("at least one label; ingest.labels=null for a survey without any")
        for name in labels:
            if not _LABEL_NAME.fullmatch(name):
                raise ValueError(
                    f"names of letters, digits and _, such as feh; for {name!r} give one, and the "
                    f"file's column in columns: {{feh: '{name}'}}"
                )
        taken = {name.lower() for name in PREDICTION_VARIABLES} | {"flag_boundary"}
        for name in label_columns(labels):
            if name.lower() in taken:
                raise ValueError(f"labels whose columns differ; {name} would be there twice")
            taken.add(name.lower())
        return labels

    @model_validator(mode="after")
    def _describes_what_there_is(self) -> Self:
        for name in self.info:
            if name not in self.labels:
                raise ValueError(f"info of {', '.join(self.labels)}; {name} is no label here")
        return self

    @property
    def own(self) -> dict[str, dict[str, str]]:
        """What ``info`` says."""
        return {name: info.model_dump(exclude_none=True) for name, info in self.info.items()}


class CrosswalkConfig(FilesConfig):
    """A table from the identifiers of the label table to those of the spectra, such as Gaia's
    dr2_neighbourhood or dr3_neighbourhood.

    ``columns`` names label_id and source_id; angular_distance and magnitude_difference are taken
    if they are there. Of several stars of one label_id the nearest counts, of equally near ones
    the most alike in brightness; where that decides nothing, none does.
    """

    reader: str = "table"
    """Name of a reader."""
    cuts: tuple[CutConfig, ...] = ()
    """Quality cuts, such as a largest angular_distance; rows that fail count for nothing."""

    @model_validator(mode="after")
    def _names_both(self) -> Self:
        missing = [name for name in ("label_id", "source_id") if name not in self.columns]
        if missing:
            raise ValueError(
                "columns with label_id, the identifier of the label table, and source_id, that of "
                f"the spectra; {' and '.join(missing)} missing"
            )
        return self
