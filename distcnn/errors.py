"""Every error a user can meet, in one tree.

    DistcnnError
    ├── UsageError            the command line cannot be carried out as written
    ├── ConfigError           a configuration file or --set value is wrong
    ├── InputError            a file given by the user cannot be used
    │   ├── FileBroken        truncated, unreadable, empty
    │   ├── ColumnMissing     a column that is needed is not there
    │   └── GridMismatch      spectra on a grid other than the declared one
    ├── StoreError            a survey or prediction store cannot be used
    │   ├── StoreCorrupt      stored bytes do not match their checksum
    │   ├── RegionError       a region does not cover whole shards
    │   ├── StoreBusy         another run writes to the store
    │   └── FingerprintMismatch   the store was begun from other input or settings
    ├── PlaceError            an object store denies access, or there is no such bucket
    │   └── PlaceUnreachable  it cannot be reached, or asks for fewer requests
    ├── PackageError          a trained package cannot be used
    │   ├── DigestMismatch    a file is not the one the manifest names
    │   └── ParityError       the network does not reproduce its own fixtures
    ├── TrainingError         training cannot begin or cannot go on
    ├── PlanRefused           the work cannot finish as asked, so it is not begun
    ├── ClusterError          workers cannot be had, or were lost for good
    │   └── SchedulerLost     the scheduler is gone, and with it what was in flight
    ├── VerificationFailed    a finished store is not what its ledger says
    ├── LockHeld              another process works there
    └── MissingExtra          an optional dependency is not installed

Every message has the value met, what was expected, and the cure.
"""


class DistcnnError(Exception):
    """Root of the tree.

    Parameters
    ----------
    problem : what was met, with the value and where (file, row, field).
    expected : what should have stood there; may be empty.
    cure : what the user can do about it; may be empty.
    """

    def __init__(self, problem: str, *, expected: str = "", cure: str = "") -> None:
        self.problem = problem
        self.expected = expected
        self.cure = cure
        super().__init__(problem, expected, cure)

    def __str__(self) -> str:
        parts = [self.problem.rstrip(".")]
        if self.expected:
            parts.append(f"expected {self.expected.rstrip('.')}")
        text = ": ".join(parts)
        text += "" if text.endswith("?") else "."
        return f"{text} {self.cure}" if self.cure else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes; keyword-only arguments need this to unpickle.
        return _rebuild, (type(self), self.problem, self.expected, self.cure)


def _rebuild(kind: type[DistcnnError], problem: str, expected: str, cure: str) -> DistcnnError:
    return kind(problem, expected=expected, cure=cure)


class UsageError(DistcnnError):
    """The command line cannot be carried out as written."""


class ConfigError(DistcnnError):
    """A configuration file or a ``--set`` value is wrong."""


class InputError(DistcnnError):
    """A file given by the user cannot be used."""


class FileBroken(InputError):
    """A file is truncated, unreadable or empty."""


class ColumnMissing(InputError):
    """A column that is needed is not in the file."""


class GridMismatch(InputError):
    """Spectra stand on a grid other than the declared one."""


class ScaleMismatch(InputError):
    """The fluxes of the files are too large or too small for the encoding of the store."""


class StoreError(DistcnnError):
    """A survey or prediction store cannot be used."""


class StoreCorrupt(StoreError):
    """Stored bytes do not match their checksum."""


class RegionError(StoreError):
    """A region does not cover whole shards of its store."""


class StoreBusy(StoreError):
    """Another run writes to the store."""


class FingerprintMismatch(StoreError):
    """The store was begun from other input, settings or code."""


class PlaceError(DistcnnError):
    """An object store denies access, has no such bucket, or cannot be used otherwise."""


class PlaceUnreachable(PlaceError):
    """An object store cannot be reached, or asks for fewer requests, after all retries."""


class PackageError(DistcnnError):
    """A trained package cannot be used."""


class DigestMismatch(PackageError):
    """A file is not the one that the manifest names."""


class ParityError(PackageError):
    """The network does not reproduce the fixtures stored with it."""


class TrainingError(DistcnnError):
    """Training cannot begin or cannot go on."""


class DeviceError(DistcnnError):
    """A device that was asked for cannot be used."""


class PlanRefused(DistcnnError):
    """The work cannot finish as asked, so it is not begun."""


class ClusterError(DistcnnError):
    """Workers cannot be had, or were lost for good."""


class SchedulerLost(ClusterError):
    """The scheduler of a cluster is gone or does not answer; what is stored is kept."""


class WorkerUnfit(ClusterError):
    """A worker that joined a run later has not the versions or the code of the others."""


class VerificationFailed(DistcnnError):
    """A finished store is not what its ledger says."""


class LockHeld(DistcnnError):
    """A file lock belongs to another process."""

    @classmethod
    def by(cls, holder: str, path: object) -> "LockHeld":
        """``/data/lock is held by process 12 on node3.``"""
        return cls(f"{path} is held by {holder or 'another process'}", cure="Wait for its end.")


class MissingExtra(DistcnnError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, feature: str, package: str, extra: str) -> "MissingExtra":
        """``Slurm clusters need dask-jobqueue. Install it with: pip install 'distcnn[slurm]'.``"""
        return cls(
            f"{feature} need {package}",
            cure=f"Install it with: pip install 'distcnn[{extra}]'.",
        )
