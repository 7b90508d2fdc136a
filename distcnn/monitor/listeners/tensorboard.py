"""TensorBoard logs: how members learn, one run per member; what regions cost, one run per stage.

FOLDER/member_00/events.out.tfevents...     over the epochs
FOLDER/predict/events.out.tfevents...       over the stars of the survey

Read by: tensorboard --logdir FOLDER
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distcnn.errors import MissingExtra, UsageError
from distcnn.events import EpochEnded, Event, RegionStored
from distcnn.survey import RegionResult


class TensorBoard:
    """Writes curves into ``folder``; they grow while the work goes on.

    A run that is continued adds to the curves that are there.

    Raises
    ------
    MissingExtra : tensorboard is not installed.
    UsageError : the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise MissingExtra.of("TensorBoard logs", "tensorboard", "tensorboard") from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written ({error.strerror})") from None
        self.folder, self._open = folder, Writer
        self._writers: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case EpochEnded():
                self._write(f"member_{event.member:02d}", _of_epoch(event), event.epoch)
            case RegionStored():
                self._write(event.stage, _of_region(event.result), event.result.region.start)

    def _write(self, run: str, scalars: Mapping[str, float | None], step: int) -> None:
        if run not in self._writers:
            self._writers[run] = self._open(str(self.folder / run))
        for tag, value in scalars.items():
            if value is not None:
                self._writers[run].add_scalar(tag, value, step)
        self._writers[run].flush()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._writers:
            self._writers.popitem()[1].close()


def _of_epoch(event: EpochEnded) -> dict[str, float | None]:
    return {
        "loss/training": event.loss,
        "loss/validation": event.validation,
        "learning_rate": event.learning_rate,
        "stars_per_second": event.stars_per_second,
    }


def _of_region(result: RegionResult) -> dict[str, float | None]:
    return {
        **{f"seconds/{step}": seconds for step, seconds in result.seconds.items()},
        "memory_bytes": result.memory,
        "stars_failed": result.failed,
        "batch": result.batch,
    }
