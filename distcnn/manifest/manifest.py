"""The manifest as a whole: ``manifest.json`` of a package, with its sections.

The keys are those of the file. Every section may be missing: inspecting a package of an
older version shows what is there. What a package must have to be used is checked where it is
loaded. Settings (``network``, ``train``, ``quality`` and inside ``distilled``) are mappings in
the words of the version that wrote them, so that a renamed setting makes no old package
unreadable; what later stages need of them has an accessor with a type.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, JsonValue, PrivateAttr, ValidationError

from distcnn import hashing
from distcnn.config import SplitConfig
from distcnn.errors import PackageError
from distcnn.labels import described
from distcnn.manifest.sections import (
    DistillationSection,
    ImportSection,
    InputSection,
    LabelEntry,
    MemberSection,
    ScalingSection,
    Section,
    SplitSection,
    StackingSection,
    SurveySection,
    TableRow,
)


def _named(value: object) -> object:
    # The first packages listed the names alone.
    return {"name": value} if isinstance(value, str) else value


class Manifest(Section):
    """``manifest.json`` of a package."""

    format: int | None = None
    """Version of the package format; see ``schema.PACKAGE_FORMAT``."""
    kind: str = "package"
    distcnn_version: str | None = None
    versions: Mapping[str, str] = {}
    """Of Python and the libraries that trained it."""
    spec: InputSection = InputSection()
    network: Mapping[str, JsonValue] = {}
    labels: tuple[Annotated[LabelEntry, BeforeValidator(_named)], ...] = ()
    label_sigma: tuple[float, ...] = ()
    """Typical total error per label, in its unit: the unit of every parity check."""
    label_width_95: tuple[float, ...] = ()
    """Total errors within which 95.4 % of the errors of a label lie; 2 if they were Gaussian. Empty
    in packages that do not say."""
    label_calibration_stars: tuple[int, ...] = ()
    label_reference_error: tuple[float, ...] = ()
    """Stars that errors of a label were fitted to, and the typical error of their references in its
    unit, that of fewer members included. Empty in packages that do not say."""
    scaling: ScalingSection | None = None
    members: tuple[MemberSection, ...] = ()
    survey: SurveySection = SurveySection()
    split: SplitSection = SplitSection()
    train: Mapping[str, JsonValue] = {}
    quality: Mapping[str, JsonValue] = {}
    bands: tuple[str, ...] = ()
    coverage: tuple[TableRow, ...] = ()
    """Published coverage: how many calibration stars lie within their quoted errors."""
    attenuation: tuple[TableRow, ...] = ()
    """Slope of predicted against true label, on calibration stars."""
    ensemble_size: tuple[TableRow, ...] = ()
    """Residuals and coverage by number of members."""
    distilled: DistillationSection | None = None
    imported: ImportSection | None = None
    stacking: StackingSection | None = None
    """Regressions beside the networks; None where the ensemble is all there is."""
    fingerprint: Mapping[str, JsonValue] = {}
    """From what and how it was trained; the same fingerprint finds the package again."""
    files: Mapping[str, str] = {}
    """sha256 of every other file of the package, by its path in the folder."""

    _document: dict[str, Any] = PrivateAttr(default_factory=dict)
    _data: bytes = PrivateAttr(default=b"")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The manifest that a JSON object holds.

        Raises
        ------
        ValueError : a section is not what it should be; names the first such one.
        """
        try:
            manifest = cls.model_validate(dict(document))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}") from None
        manifest._document = dict(document)
        return manifest

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The manifest that a file holds.

        Raises
        ------
        ValueError : it is no JSON object, or a section is not what it should be.
        """
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError("the manifest is no JSON object")
        manifest = cls.from_json(document)
        manifest._data = data
        return manifest

    def to_json(self) -> dict[str, Any]:
        """The JSON object it was read from, with every key in its place.

        Not made again from the fields: the bytes of the file name the package.
        """
        return dict(self._document) or self.model_dump(exclude_unset=True)

    def to_bytes(self) -> bytes:
        """The file: the very bytes where it was read from one."""
        return self._data or (json.dumps(self.to_json(), indent=1) + "\n").encode()

    @property
    def digest(self) -> str:
        """sha256 of the file, which names the package."""
        return hashing.of_bytes(self.to_bytes())

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in output order."""
        return tuple(label.name for label in self.labels)

    @property
    def own_labels(self) -> dict[str, dict[str, str]]:
        """What the package says of labels that ``schema.LABELS`` does not tell of."""
        told = {label.name: label.model_dump(exclude={"name"}) for label in self.labels}
        known = {
            name: {part: text for part, text in parts.items() if isinstance(text, str) and text}
            for name, parts in told.items()
        }
        return described(self.label_names, known)

    @property
    def training_split(self) -> SplitConfig:
        """The split of the training stars.

        Raises
        ------
        PackageError : the package does not say how its stars were split.
        """
        split = self.train.get("split")
        if not isinstance(split, dict):
            raise PackageError(
                "the package does not say which stars it was trained on",
                expected="a split of the labelled stars in its manifest",
                cure="Train it anew.",
            )
        # Packages from before there were folds do not name a method.
        return SplitConfig.model_validate({"method": "held-out", **split})

    @property
    def groups_digest(self) -> JsonValue:
        """Digest of the table of groups that training was begun with; None without one."""
        split = self.fingerprint.get("split")
        return split.get("groups") if isinstance(split, dict) else None
