"""How a stage is run: its places, its workers, and who watches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from distcnn.config import BackendConfig, Config
from distcnn.errors import UsageError
from distcnn.events import Listener
from distcnn.location import (
    A_FILE,
    A_PACKAGE,
    STORES,
    Address,
    LocalLocation,
    Location,
    contents_of,
    nothing_at,
    work_folder,
)

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.clusters.places import Places


P = ParamSpec("P")
Answer = TypeVar("Answer")


def with_places(stage: Callable[P, Answer]) -> Callable[P, Answer]:
    """Let a stage take its places as texts, paths or addresses (``s3://bucket/a.zarr``).

    What is annotated as ``Address`` becomes a ``Location``, reached by the section ``objects`` of
    the stage's configuration; what is a ``Path`` has to be on this machine. Any other kind of
    place is refused before the stage begins: as a mere path it would be taken for a folder.
    """
    kinds = stage.__annotations__.items()
    places = {name for name, kind in kinds if kind in (Address, Address | None)}
    local = {name for name, kind in kinds if kind in (Path, Path | None)}
    form = signature(stage)

    @wraps(stage)
    def run(*args: P.args, **options: P.kwargs) -> Answer:
        given = form.bind(*args, **options)
        config = given.arguments.get("config")
        settings = None if config is None else config.objects.settings
        for name in (places | local) & given.arguments.keys():
            if given.arguments[name] is not None:
                place = Location.parse(given.arguments[name], settings)
                given.arguments[name] = place.local_path if name in local else place
        return stage(*given.args, **given.kwargs)

    return run


def must_exist(path: Address, what: str) -> None:
    """Refuse a place where nothing is; ``what`` was expected there."""
    place = Location.parse(path)
    if not place.exists():
        problem, cure = nothing_at(place)
        raise UsageError(problem, expected=what, cure=cure)


def must_have_room(place: Address, what: str) -> None:
    """Refuse to write a folder of ``what`` onto a file, or into a store or package.

    Raises
    ------
    UsageError : that is there.
    """
    found = contents_of(Location.parse(place))
    if found in (A_FILE, A_PACKAGE, *STORES):
        raise UsageError(f"{place} is {found}", expected=f"a folder of its own for {what}")


def on_workers(
    cluster: BackendConfig,
    config: Config,
    listener: Listener,
    places: "Places",
    work: Callable[["ClusterExecutor", Listener], Answer],
) -> Answer:
    """``work`` with the workers of ``cluster``, begun again if their scheduler is lost.

    Whenever workers have come they are looked at before anything else is done.
    """
    from distcnn.clusters import run_on_cluster

    def watched(executor: "ClusterExecutor") -> Answer:
        executor.preflight(places, listener)
        with watching(executor, config, listener, places.output) as listening:
            return work(executor, listening)

    return run_on_cluster(logging_beside(cluster, places.output), listener, watched)


def places_of(
    reads: Mapping[str, Address], output: Address, memory: int = 0, *modules: str
) -> "Places":
    """What workers have to see before work begins; ``memory``: bytes that each of them needs;
    ``modules``: what they can import meanwhile.
    """
    from distcnn.clusters.places import Places

    seen = {what: Location.parse(place) for what, place in reads.items()}
    return Places(Location.parse(output), seen, memory, modules)


def work_of(product: Address) -> dict[str, Address]:
    """The folder of work on a product in an object store, which every worker has to see too."""
    place = Location.parse(product)
    if isinstance(place, LocalLocation):
        return {}
    folder = work_folder(place).parent
    folder.mkdir(parents=True, exist_ok=True)
    return {"folder of unfinished work (DISTCNN_WORK)": folder}


def logging_beside(cluster: BackendConfig, product: Address) -> BackendConfig:
    """The cluster, with the logs of its jobs beside what a command makes unless it says where."""
    if getattr(cluster, "logs", "none") is not None:
        return cluster
    logs = work_folder(Location.parse(product)).with_suffix(".logs").absolute()
    return cluster.replaced(logs=logs)


def watching(
    executor: object, config: Config, listener: Listener, output: Address
) -> AbstractContextManager[Listener]:
    """Show what runs in the block wherever it can be seen, and notice when it is stuck."""
    from distcnn.monitor.run_monitor import watch_run

    place = Location.parse(output)
    backend = config.cluster.backend
    return watch_run(executor, config.monitor, listener, output=place, cluster=backend)
