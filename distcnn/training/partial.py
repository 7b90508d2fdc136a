"""The folder PACKAGE.partial, in which a package is made, and whether it is the one asked for.

It holds the ledger of what is done and the files of each member, and is removed once the package,
which is written whole beside it, exists.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distcnn import survey
from distcnn.config import TrainConfig
from distcnn.errors import LockHeld, PlanRefused, TrainingError
from distcnn.files import empty_folder, locked_folder
from distcnn.formatting import format_bytes
from distcnn.location import Address, Location, work_folder
from distcnn.model import InputSpec, build_network
from distcnn.survey import Ledger
from distcnn.training.loop.checkpoint import CHECKPOINT

LEDGER = "ledger.jsonl"
COPIES_OF_WEIGHTS = 8
"""On disk per member while the package is written: weights, best weights and two moments of the
optimiser in a checkpoint, a checkpoint being replaced, weights and TorchScript in the package."""


def partial_folder(package: Address) -> Path:
    """Where a package is while it is made: always on a disk, see ``work_folder``."""
    return work_folder(Location.parse(package))


def begin_ledger(partial: Path, fingerprint: dict[str, Any]) -> Ledger:
    """The ledger of a package in the making, begun again if nothing was trained under another.

    Raises
    ------
    FingerprintMismatch : members, or epochs of one, were trained under another fingerprint.
    """
    trained = any(partial.rglob(CHECKPOINT))
    return Ledger.open(
        partial / LEDGER,
        fingerprint,
        disposable=None if trained else frozenset(),
        cure="Ask for the same again, use another output path, or begin again: --restart removes "
        f"{partial}.",
    )


def check_room(folder: Path, spec: InputSpec, config: TrainConfig, members: int) -> None:
    """Refuse what has no room on the disk of ``folder`` for checkpoints and weights of members.

    Raises
    ------
    PlanRefused : says what is needed and what is free.
    """
    network = build_network(spec, config.network, seed=0)
    tensors = network.state_dict().values()
    needed = members * COPIES_OF_WEIGHTS * sum(one.numel() * one.element_size() for one in tensors)
    free = Location.parse(folder).free_bytes()
    if needed > free:
        raise PlanRefused(
            f"training in {folder} may need {format_bytes(needed)}, {format_bytes(free)} are free "
            "on that disk",
            cure="Free what is short, choose another output path, or train fewer members.",
        )


def discard_unfinished(package: Address) -> None:
    """Remove what a training or distillation of ``package`` has left unfinished.

    Raises
    ------
    TrainingError : another training works there.
    """
    partial = partial_folder(package)
    if not partial.is_dir():
        return
    with locked(partial):
        empty_folder(partial)


@contextmanager
def locked(partial: Path) -> Iterator[None]:
    """Lock the folder, made if it is not there, while the block runs.

    Raises
    ------
    TrainingError : another training holds it; says who.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(partial))
        except LockHeld as held:
            raise TrainingError(
                f"another training works there: {held.problem}",
                expected="one training per package",
                cure="Wait for it or stop it, or give another package path.",
            ) from None
        yield


def member_settings(config: TrainConfig) -> dict[str, Any]:
    """Settings that the weights of a member depend on, for fingerprints."""
    settings = config.model_dump(mode="json", exclude={"members", "keep", "distribute", "stacking"})
    if config.precision == "auto":  # what every training was before one could ask
        del settings["precision"]
    if not config.split.cross_fitted:  # likewise
        settings["split"] = without_folds(settings["split"])
    return settings


def without_folds(split: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a split without those that only folds have."""
    return {key: value for key, value in split.items() if key not in ("method", "folds")}


def check_fingerprint(
    path: Address, found: Mapping[str, Any], asked: Mapping[str, Any], verb: str
) -> None:
    """Compare the fingerprint of a finished package with that of what is asked for.

    Parameters
    ----------
    verb : what one does to get it again: train, distil.

    Raises
    ------
    FingerprintMismatch : they differ; names the first difference.
    """
    wanted = json.loads(json.dumps(asked))
    survey.check_fingerprint(
        {key: found.get(key) for key in wanted},
        wanted,
        begun=f"{path} was made",
        cure=f"Give another path, or remove this package to {verb} again.",
    )
