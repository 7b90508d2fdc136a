"""TensorBoard logs: losses, learning rate and speed of every member, one run per member.

FOLDER/member_00/events.out.tfevents...     read by: tensorboard --logdir FOLDER
"""

from pathlib import Path
from typing import Any

from distcnn.errors import MissingExtra, UsageError
from distcnn.events import EpochEnded, Event


class TensorBoard:
    """Writes what members report into ``folder``; lines are there while they train.

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
        self._writers: dict[int, Any] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, EpochEnded):
            return
        writer = self._writer(event.member)
        for tag, value in _scalars(event).items():
            if value is not None:
                writer.add_scalar(tag, value, event.epoch)
        writer.flush()

    def _writer(self, member: int) -> Any:
        if member not in self._writers:
            self._writers[member] = self._open(str(self.folder / f"member_{member:02d}"))
        return self._writers[member]

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._writers:
            self._writers.popitem()[1].close()


def _scalars(event: EpochEnded) -> dict[str, float | None]:
    return {
        "loss/training": event.loss,
        "loss/validation": event.validation,
        "learning_rate": event.learning_rate,
        "stars_per_second": event.stars_per_second,
    }
