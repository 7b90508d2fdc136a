"""Manifest: what a package says of itself, typed, and readable without torch.

The keys are those of ``manifest.json``. Every section may be missing: inspecting a package of an
older version shows what is there. What a package must have to be used is checked where it is
loaded. Settings (``network``, ``train``, ``quality`` and inside ``distilled``) are mappings in
the words of the version that wrote them, so that a renamed setting makes no old package
unreadable; what later stages need of them has an accessor with a type.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, PrivateAttr, ValidationError

from distcnn import hashing
from distcnn.config import SplitConfig
from distcnn.errors import DigestMismatch, PackageError
from distcnn.labels import described
from distcnn.location import A_FILE, A_PACKAGE, NOT_THERE, Address, Location, contents_of
from distcnn.schema import PACKAGE_FORMATS

MANIFEST = "manifest.json"
_CURE = "Restore the package from a copy, or train again."

Settings = Mapping[str, JsonValue]
TableRow = dict[str, str | int | float | None]
"""A row of a table: label, S/N bin and the like as text, numbers, None where not known."""


class Section(BaseModel):
    """A part of the manifest: immutable; keys that this version does not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class InputSection(Section):
    """What the network is given; see ``model.InputSpec``."""

    pixels: int = 0
    """Samples of the spectrum; 0 = not used."""
    coefficients: int = 0
    """XP coefficients; 0 = not used."""
    bands: tuple[str, ...] = ()
    """Photometric bands."""
    astrometry: bool = False
    """Whether parallax is used."""
    wavelength_digest: str = ""
    """Digest of the wavelength grid."""
    labels: tuple[str, ...] = ()
    """Names of the labels, in output order."""
    scalars: tuple[str, ...] = ()
    """Further inputs of one number per star."""


class LabelEntry(Section):
    """One label that the network gives."""

    name: str
    unit: str = ""
    ucd: str | None = None
    """This and the rest: of labels that ``schema.LABELS`` does not tell of."""
    symbol: str | None = None
    description: str | None = None


class ScalingSection(Section):
    """Scaling of the labels, which all members share."""

    digest: str
    """Digest of all scalings, those of the inputs included."""
    label_logarithm: tuple[bool, ...]
    """Per label: whether its logarithm is scaled."""
    label_centre: tuple[float, ...]
    """Per label, in its unit or the logarithm of it."""
    label_scale: tuple[float, ...]
    """Per label, in its unit or the logarithm of it."""


class MemberSection(Section):
    """What became of one member of the ensemble."""

    member: int | None = None
    """Number among the members that were trained, before the best were selected."""
    fold: int | None = None
    """Fold of the stars that it never saw; None where all members share the parts."""
    digest: str | None = None
    """Digest of its weights as training stored them."""
    seed: int | None = None
    best: int | None = None
    """Epoch with the lowest validation loss, from 0; its weights are the member's."""
    validation: float | None = None
    """Validation loss of that epoch."""
    arithmetic: Settings = {}
    """Device and precision of training, and why."""


class SurveySection(Section):
    """The training survey."""

    survey: str | None = None
    release: str | None = None
    inputs: str | None = None
    """Digest of the archive files that it was made from."""
    medium: str | None = None
    """Medium of its wavelengths; None, as for the two below, in packages that do not say."""
    frame: str | None = None
    """Frame of its wavelengths."""
    normalisation: str | None = None
    """What its fluxes were divided by."""
    flux_unit: str | None = None
    """Unit of its fluxes; None also where they have none."""
    snr_interval: str | None = None
    """Wavelength interval that its S/N is per; None also where it is one pixel."""


class SplitSection(Section):
    """How the labelled stars were split, and how many fell into each part."""

    train: float = 0.0
    """Fraction of the stars; the same for the parts below. The rest is the test split."""
    validation: float = 0.0
    calibration: float = 0.0
    seed: int = 0
    rotate: float = 0.0
    method: str = "held-out"
    """Whether members share the parts, or each holds out one of ``folds``."""
    folds: int | None = None
    groups: str | None = None
    """Table of stars that fall into the same part."""
    stars: Mapping[str, int] = {}
    """Number of stars per part."""
    source_id: Mapping[str, str] = {}
    """Digest of the source_ids per part."""
    data: str | None = None
    """Digest of the values that were used."""

    @property
    def fractions(self) -> dict[str, float]:
        """Fraction of the labelled stars per part, of folds as one member has them; the test split
        is what the others leave.
        """
        named = {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
        }
        end = sum(named.values())
        if self.method == "folds" and self.folds:
            fold = end / self.folds
            named |= {"train": end - self.validation - fold, "calibration": fold}
        return {**named, "test": 1 - end}


class DistillationSection(Section):
    """From what a student was distilled."""

    teacher: str
    """Digest of the ensemble's package."""
    members: int
    """Members of the ensemble."""
    network: Settings
    """Settings of the ensemble's networks."""
    stars: int
    """Stars that the ensemble predicted for the student, labelled or not."""
    survey: str
    """Digest of their values."""
    settings: Settings
    """Settings of the distillation."""


class ImportSection(Section):
    """From which files trained elsewhere the members were taken."""

    files: tuple[str, ...]
    """Names of the files, a member each."""
    digests: tuple[str, ...]
    """sha256 of each."""
    format: str
    """What wrote them, with its version."""
    parameters: int
    """Weights of one member."""
    trained_on: str | None = None
    """sha256 of the table of stars that they were trained on; None = not known."""


class StackingSection(Section):
    """Regressions whose labels are averaged with those of the ensemble."""

    methods: tuple[str, ...]
    """The ensemble and the regressions, in the order of the weights."""
    stars: int
    """Labelled stars that the regressions were fitted to."""
    knots: tuple[float, ...]
    """log10 S/N of the rows of the weights; one where they do not depend on it."""
    weights: tuple[tuple[tuple[float, ...], ...], ...]
    """By knot, method and label."""
    labels: tuple[Mapping[str, Mapping[str, float]], ...] = ()
    """Per label: std and 1.48 MAD by method of stars that it has not seen, in units of the scaling
    of the labels; "stacked" is the label of the package."""


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
    network: Settings = {}
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
    train: Settings = {}
    quality: Settings = {}
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
    fingerprint: Settings = {}
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


def read_manifest(package: Address) -> Manifest:
    """The manifest of a package that this version can use; nothing else of it is opened.

    Raises
    ------
    PackageError : there is none, or it has another format.
    """
    try:
        manifest = Manifest.from_bytes((Location.parse(package) / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise no_package(package, error) from None
    if manifest.format not in PACKAGE_FORMATS:
        newer = (manifest.format or 0) > max(PACKAGE_FORMATS)
        raise PackageError(
            f"{package} has format {manifest.format}",
            expected=f"format {', '.join(map(str, PACKAGE_FORMATS[:-1]))} or {PACKAGE_FORMATS[-1]}",
            cure=f"It was written by {'a newer' if newer else 'an old'} version of distcnn; "
            f"{'update distcnn' if newer else 'train again'}.",
        )
    return manifest


def no_package(path: Address, error: Exception) -> PackageError:
    """What to say of a path that cannot be read as a package."""
    place = Location.parse(path)
    found = contents_of(place)
    if found == NOT_THERE:
        return PackageError(f"{path} does not exist", expected="a package")
    if found == A_PACKAGE:
        found = f"a package whose {MANIFEST} is not understood ({type(error).__name__}: {error})"
    file = found == A_FILE and place.name == MANIFEST
    damaged = MANIFEST in found
    return PackageError(
        f"{path} is not a package but {found}",
        expected=f"a folder with a readable {MANIFEST}",
        cure=f"Give its folder, {place.parent}."
        if file
        else "Restore it from a copy, or train again."
        if damaged
        else "`distcnn train SURVEY PACKAGE` makes one.",
    )


def read_file(package: Address, manifest: Manifest, name: str) -> bytes:
    """Bytes of one file of a package.

    Raises
    ------
    PackageError : the manifest does not name the file.
    DigestMismatch : the file is missing or is not the one that the manifest names.
    """
    expected = manifest.files.get(name)
    if expected is None:
        raise PackageError(f"{package} has no file {name!r} in its manifest", cure=_CURE)
    place = Location.parse(package) / name
    try:
        data = place.read_bytes()
    except OSError as error:
        why = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DigestMismatch(f"{place} {why}", cure=_CURE) from None
    found = hashing.of_bytes(data)
    if found != expected:
        raise DigestMismatch(
            f"{place} has sha256 {found[:16]}...",
            expected=f"{expected[:16]}..., as the manifest says",
            cure=_CURE,
        )
    return data
