"""Sections of a manifest: inputs, labels, members, survey, split, and from what it was made."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

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
