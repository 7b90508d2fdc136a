"""What is there: runs, products, clusters and this machine."""

from collections.abc import Callable
from pathlib import Path

from distcnn.config import Config
from distcnn.location import Address, Location
from distcnn.pipeline.running import must_exist, with_places


@with_places
def watch_predictions(
    predictions: Address,
    say: Callable[[str], None],
    *,
    once: bool,
    interval: float,
    config: Config | None = None,
) -> int:
    """Follow the run that makes a prediction store, line by line; returns ``WatchCode``."""
    from distcnn.monitor.watch import watch

    must_exist(predictions, "a prediction store")
    return watch(Location.parse(predictions), say, once=once, interval=interval)


@with_places
def inspect_path(path: Address, config: Config | None = None) -> str:
    """Text telling what a path is, from what it was made, and how complete it is.

    Of work that was interrupted it says what is done and what to type to go on.
    """
    from distcnn import catalogue
    from distcnn.evaluation.baseline_table import is_baselines
    from distcnn.monitor.progress import describe_unfinished
    from distcnn.report.text import inspect

    must_exist(path, "a store, package, catalogue or folder")
    # A table of baselines has the ending of a catalogue.
    place = Location.parse(path)
    if catalogue.find_entry(Path(place.name)) is not None and not is_baselines(place):
        with place.local_copy() as file:
            if catalogue.is_catalogue(file):
                return catalogue.describe(file).replace(str(file), str(place))
    return "\n".join([inspect.describe(place), *describe_unfinished(place)])


def render_cluster(config: Config) -> str:
    """Text of the objects that ``--cluster`` would create elsewhere; creates nothing."""
    from distcnn import clusters

    return clusters.render_cluster(config.cluster)


def check_machine() -> str:
    """Text telling whether this machine is fit for work."""
    from distcnn.monitor.doctor import examine

    return examine()
