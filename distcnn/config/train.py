"""Settings of training: split, network, loop, distribution; distillation and tuning."""

from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from distcnn.config.base import Bytes, Frozen, LocalPath, Names
from distcnn.config.resources import ResourceDevice


class SplitConfig(Frozen):
    """Fractions of the labelled stars, by a hash of source_id: the rest is the test split."""

    method: Literal["held-out", "folds"] = "held-out"
    """``held-out``: validation and calibration stars are trained on by no member. ``folds``
    (cross-fitting): the stars outside the test split are cut into ``folds`` parts, member k trains
    on all but part k modulo ``folds`` and its validation stars; errors, flags and limits are fitted
    on every star from the members that never saw it. With some thousand labelled stars or fewer
    ``folds`` is the better one: of 500 and 2,000 its scatter was 7 to 52 % less (networks alone),
    its errors rest on six times as many stars, and a member takes up to a third longer."""
    folds: int = Field(8, ge=2, le=100)
    """Parts for ``folds``; the ensemble needs as many members or more."""
    train: float = Field(0.65, gt=0, lt=1)
    """Fits the weights."""
    validation: float = Field(0.10, gt=0, lt=1)
    """Stops training and selects members; for ``folds`` other stars for the members of each
    fold."""
    calibration: float = Field(0.15, gt=0, lt=1)
    """Fits calibration and thresholds of flags; for ``folds`` every star outside test does."""
    seed: int = 0
    """Seed of the hash."""
    rotate: float = Field(0.0, ge=0, lt=1)
    """Turns the parts around the circle of hashes: k runs turned by 1/k, with a test split of
    1/k, test every star once (cross-validation)."""
    groups: LocalPath | None = None
    """CSV or Parquet with columns source_id, group: stars of one group (a cluster) fall into the
    same part; stars not listed, or with an empty group, go by themselves. A relative path is
    taken from the folder where the command runs."""

    @model_validator(mode="after")
    def _not_more_than_all(self) -> Self:
        total = self.train + self.validation + self.calibration
        if total > 1 + 1e-9:
            raise ValueError(f"train + validation + calibration of at most 1; they are {total:g}")
        if self.cross_fitted and 1 / self.folds + self.validation / total > 1 - 1e-9:
            raise ValueError(f"{self.folds} folds leave stars to train on; validation takes them")
        return self

    @property
    def cross_fitted(self) -> bool:
        """Whether members train on folds."""
        return self.method == "folds"

    def held_out(self) -> Self:
        """The same four parts for every member."""
        return self.model_copy(update={"method": "held-out"})


class NetworkConfig(Frozen):
    """Which network, and which branches it has."""

    preset: Literal["hybrid", "rave2020", "hr15n2023"] = "hybrid"
    """``hybrid`` is our reconstruction of the Guiglion et al. (2024) design, whose layers are not
    public; ``rave2020`` and ``hr15n2023`` have the published layers of Guiglion et al. (2020)
    and Nepal et al. (2023)."""
    spectrum: bool = True
    """Use the spectrum."""
    xp: bool = True
    """Use XP coefficients."""
    photometry: bool = True
    """Use magnitudes and parallax."""
    flux: Literal["linear", "log"] = "linear"
    """How the network sees the flux; ``log`` suits flux-calibrated spectra, whose slope over the
    whole range is information."""
    scale_by_noise: bool = False
    """Scale a spectrum by its noise as well as by the spread between stars: for surveys that go
    down to a S/N of 1, where noise is a hundred times that spread."""
    width: int = Field(16, ge=4)
    """Channels of the last convolution; the first has half. 32 costs 1.8 times
    the arithmetic for less than 1 % of scatter."""
    hidden: int = Field(128, ge=4)
    """Neurons of the joined dense layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Drop-out inside the spectrum and XP branches of ``hybrid``."""


class AugmentConfig(Frozen):
    """What is done to training inputs afresh in every epoch."""

    noise: float = Field(0.7, ge=0, le=1)
    """Probability to add the noise that lowers a spectrum to another training star's S/N."""
    faintest: float | None = Field(None, gt=0)
    """Least S/N that spectra are lowered to, evenly in its logarithm from there to their own, in
    the unit of the survey's S/N; null = to that of another training star."""
    faint_inputs: bool = False
    """Move lowered stars away until they are as faint as stars of that S/N are in the survey, with
    the errors that parallax and XP then have: for labels that bright stars alone have."""
    parallax_zero_point: float = Field(-0.03, ge=-1, le=1)
    """Zero point of the survey's parallaxes [mas], the same near and far: a star that is moved away
    keeps it. Gaia DR3: -0.02 to -0.04 (Lindegren et al. 2021, A&A 649, A4)."""
    dust_layer: float = Field(0.0, ge=0, le=3)
    """E(B-V) in the plane of a layer of dust of 125 pc scale height [mag/kpc]: what it holds on the
    longer way stands before the copies of stars that ``faint_inputs`` makes; near the Sun about 0.2
    to 0.3. What dust does to XP is known of simulated surveys alone: such copies of observed stars
    lack XP. 0 = no dust."""
    correlation: float | None = Field(None, ge=1)
    """Length over which the pixels' noise is correlated [stored pixels]; null = measured on the
    survey, or taken from its ingest where spectra are few."""
    velocity: float = Field(1.5, ge=0)
    """Error of the radial velocity that a spectrum of S/N 20 was shifted by [km/s]; lowered
    spectra get what their S/N adds to it (it goes with 1/S/N)."""
    velocity_limit: float = Field(10.0, ge=0)
    """Most that is added to it [km/s]: of fainter spectra no velocity is measured that bad."""
    continuum: float = Field(0.01, ge=0)
    """Relative error of level and tilt of the continuum of a spectrum of S/N 20, likewise."""
    dust: float = Field(0.0, ge=0, le=2)
    """Most E(B-V) [mag] of dust that is put before a copy of every training star, of networks and
    of regressions, so that labels stand dust that training stars did not have; an epoch then has
    twice as many stars. What dust does to XP is known of simulated surveys alone: copies of
    observed stars lack XP. 0 = no copies."""
    drop_spectrum: float = Field(0.0, ge=0, lt=1)
    """Probability to hide the spectrum of a star, so that XP, magnitudes and parallax alone must
    do."""
    drop_xp: float = Field(0.05, ge=0, lt=1)
    """Probability to hide the XP coefficients of a star."""
    drop_parallax: float = Field(0.05, ge=0, lt=1)
    """Probability to hide the parallax of a star."""
    drop_pixels: float = Field(0.05, ge=0, lt=1)
    """Fraction of pixels hidden, in runs."""

    @model_validator(mode="after")
    def _one_kind_of_copies(self) -> Self:
        if self.dust and self.dust_layer:
            raise ValueError(
                f"one of dust ({self.dust:g}) and dust_layer ({self.dust_layer:g}); the other must "
                "be 0, for every star has one copy"
            )
        return self


class DistributeConfig(Frozen):
    """How members are spread over workers and devices."""

    strategy: Literal["auto", "ensemble", "data", "fused"] = "auto"
    """``ensemble``: one member per worker; ``data``: several ranks share a member's batches
    (torch DDP); ``fused``: one device trains many members in one pass. ``auto`` decides from
    members, workers and devices, and ``--dry-run`` says why."""
    device: ResourceDevice = "auto"
    """Now ``resources.device``."""
    ranks: int | None = Field(None, ge=1)
    """Ranks per member for ``data``; None = all workers."""
    lanes: int = Field(8, ge=1)
    """For ``data``: virtual ranks, parts of every batch with random numbers and stars of their own.
    Ranks share them out, so the result does not depend on their number; at most one rank each."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Whether training stars are read from the survey again in every epoch instead of being held
    in memory; ``auto``: where they need more than ``memory``."""
    memory: Bytes = 1_500_000_000
    """Bytes of training stars that a rank may hold. Not ``resources.planned_memory``, beyond which
    a run is refused: beyond this it goes on, and reads them in every epoch."""
    checkpoint: int = Field(2000, ge=1)
    """Steps between checkpoints within an epoch, where training stars are streamed or shared out;
    one is written at the end of every epoch in any case."""
    attempts: int = Field(3, ge=1)
    """Times a group of ranks is started again after one of them died."""
    timeout: float = Field(60.0, gt=0)
    """Seconds that ranks wait for each other before the missing one is named."""


class OptimiserConfig(Frozen):
    """The loop that fits a network: AdamW with a one-cycle schedule, stopped early."""

    epochs: int = Field(40, ge=1)
    """Most epochs."""
    patience: int = Field(15, ge=1)
    """Stop after this many epochs without a better validation loss; best weights are kept."""
    batch: int = Field(256, ge=1)
    """Stars per optimiser step; below some 10,000 training stars take fewer."""
    learning_rate: float = Field(4.2e-3, gt=0)
    """Peak of the one-cycle schedule (AdamW); goes with the root of ``batch``."""
    weight_decay: float = Field(0.2, ge=0)
    """AdamW weight decay."""

    def optimiser(self) -> dict[str, Any]:
        """The keys of this section that both training and distillation have."""
        return {name: getattr(self, name) for name in OptimiserConfig.model_fields}


StackingMethod = Literal[
    "ridge",
    "gaussian_process",
    "exponential_process",
    "trees",
    "perceptrons",
    "photometric_perceptrons",
]


class StackingConfig(Frozen):
    """Regressions beside the networks, whose labels are averaged with those of the ensemble.

    How much each counts follows from labels of stars that it has not seen, per label and smoothly
    with S/N; where few stars are labelled the regressions carry the label, where many are the
    networks do. Stars that lack an input keep the label of the ensemble. A method that takes less
    than 1 % off the scatter of those stars is left out: each costs time in ``predict``.
    """

    methods: tuple[StackingMethod, ...] = get_args(StackingMethod)
    """``ridge``: linear in all inputs. The others see principal components of spectrum, XP and
    colours, magnitude and absolute magnitude: ``gaussian_process`` (squared exponential kernel) is
    smooth in them, ``exponential_process`` continuous, ``trees`` (boosted) are made of steps;
    ``perceptrons`` are small networks without convolutions, which see all XP components and learn
    most from bright stars, ``photometric_perceptrons`` the same of all but the spectrum, from all
    stars alike: of faint stars its noise would only mislead. None of them: the ensemble alone."""
    inducing: int = Field(512, ge=16, le=4096)
    """Stars that a process remembers; each costs time in ``predict``."""
    trees: int = Field(250, ge=1, le=2000)
    """Trees; each costs time in ``predict``."""


class TrainConfig(OptimiserConfig):
    """One ensemble: members differ in seed only."""

    members: int = Field(8, ge=1)
    """Networks in the ensemble (Guiglion et al. 2024: 28)."""
    seed: int = 0
    """Seed of everything; member k uses a seed derived from it and k."""
    network: NetworkConfig = NetworkConfig()
    """The network."""
    split: SplitConfig = SplitConfig()
    """Who is trained on and who is not."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation."""
    distribute: DistributeConfig = DistributeConfig()
    """Who trains what, and where."""
    precision: Literal["auto", "float32"] = "auto"
    """Of wide products in training. ``auto``: bfloat16 where the processor has units for it and a
    real batch comes out right, so another processor gives other weights (within the scatter of
    seeds); ``float32``: the same weights, to rounding, on any CPU and by any number of ranks."""
    keep: float = Field(1.0, gt=0, le=1)
    """Fraction of members kept, best validation loss first (published practice: 0.8)."""
    labels: Names | None = None
    """Labels to learn; None = all that the survey has."""
    stacking: StackingConfig = StackingConfig()
    """Regressions beside the networks."""

    @model_validator(mode="after")
    def _a_member_per_fold(self) -> Self:
        if self.split.cross_fitted and self.members < self.split.folds:
            raise ValueError(
                f"a member or more per fold, for every star needs one that never saw it; there are "
                f"{self.members} members and train.split.folds is {self.split.folds}"
            )
        return self


class StudentConfig(Frozen):
    """Size of the student, a network like ``hybrid``; its inputs are those of the ensemble."""

    width: int = Field(16, ge=4)
    """Channels of the last convolution; the first has half."""
    hidden: int = Field(128, ge=4)
    """Neurons of the joined dense layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Drop-out inside the spectrum and XP branches; answers without noise need none."""


class DistilConfig(OptimiserConfig):
    """From an ensemble to one student network that answers as it does."""

    network: StudentConfig = StudentConfig()
    """The student."""
    seed: int = 0
    """Seed of weights, batches and views."""
    stars: int = Field(200_000, ge=1)
    """Most stars to learn from, taken evenly from those of the survey that may be seen: all but
    the labelled ones of validation, calibration and test."""
    augment: AugmentConfig = AugmentConfig()
    """How a star is changed, afresh in every epoch, before ensemble and student see it."""
    device: ResourceDevice = "auto"
    """Now ``resources.device``."""
    memory: Bytes = 1_500_000_000
    """Bytes of stars that are held; more of them are read from the survey again in every epoch."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak of the one-cycle schedule (AdamW); goes with the root of ``batch``."""
    weight_decay: float = Field(0.02, ge=0)
    """AdamW weight decay."""


class StudentNetwork(NetworkConfig):
    """What the manifest of a distilled package says of its network."""

    student: Literal[True] = True
    """One network that gives noise and scatter, where an ensemble has members."""


class Range(Frozen):
    """The values that a hyper-parameter may take."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether factors count rather than differences; ``low`` must then be above 0."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0 where log is true")
        return self


class TuneConfig(Frozen):
    """Trials of other settings, judged by their validation loss.

    A hyper-parameter that is null stays as ``train`` has it.
    """

    trials: int = Field(30, ge=1)
    """Finished trials at which a study is complete; the first one has the settings of ``train``."""
    seed: int = 0
    """Seed of the choice of settings; all trials share the seeds of ``train``."""
    members: int = Field(1, ge=1)
    """Members trained per trial; their mean validation loss counts."""
    epochs: int = Field(15, ge=1)
    """Epochs of a trial, a whole learning-rate cycle; the best settings keep ``train.epochs``."""
    learning_rate: Range | None = Range(low=1e-3, high=1e-2, log=True)
    """Range of ``train.learning_rate``."""
    weight_decay: Range | None = Range(low=0.05, high=2.0, log=True)
    """Range of ``train.weight_decay``."""
    batch: tuple[int, ...] | None = (64, 128, 256, 512)
    """Values of ``train.batch``."""
    dropout: Range | None = Range(low=0.0, high=0.4)
    """Range of ``train.network.dropout``; tuned for ``hybrid`` only."""
    width: tuple[int, ...] | None = (16, 32, 48, 64)
    """Values of ``train.network.width``; tuned for ``hybrid`` only."""
    hidden: tuple[int, ...] | None = (64, 128, 256)
    """Values of ``train.network.hidden``; tuned for ``hybrid`` only."""
    noise: Range | None = Range(low=0.0, high=1.0)
    """Range of ``train.augment.noise``."""
