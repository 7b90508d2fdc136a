"""From surveys and predictions to maps: of spectra beside those of training, of the Galaxy."""

from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config import Config
from distcnn.errors import StoreError
from distcnn.events import Listener, silent
from distcnn.location import Address, Location
from distcnn.pipeline.running import must_exist, must_have_room, on_workers, places_of, with_places

if TYPE_CHECKING:
    from distcnn.clusters.base import ClusterExecutor
    from distcnn.maps import MapRecord
    from distcnn.maps.tsne import TsnePlan
    from distcnn.maps.tsne.sample import Sources
    from distcnn.survey import Store


@with_places
def plan_tsne(
    package: Address, survey: Address, config: Config, *, training: Address | None = None
) -> "TsnePlan":
    """What ``map_tsne`` would do and cost; prints as text."""
    from distcnn.maps import tsne

    return tsne.plan_tsne(_sources(package, survey, training), config.maps.tsne)


@with_places
def map_tsne(
    package: Address,
    survey: Address,
    out: Path,
    config: Config,
    listener: Listener = silent,
    *,
    training: Address | None = None,
) -> "MapRecord":
    """Map the spectra of ``survey`` beside those of training into the folder ``out``.

    ``training``: the survey that the package was trained on, if it is another one.
    """
    from distcnn.manifest import read_manifest
    from distcnn.maps import tsne

    must_have_room(out, "the map")
    sources, manifest = _sources(package, survey, training), read_manifest(package)
    origin = {
        "package": manifest.digest,
        "survey": sources.survey.identity,
        "training": sources.training.identity,
    }
    novelty = tsne.novelty_of(package, manifest)
    return tsne.map_tsne(sources, novelty, out, config.maps.tsne, origin, listener=listener)


def _sources(package: Address, survey: Address, training: Address | None) -> "Sources":
    from distcnn.manifest import read_manifest
    from distcnn.maps import tsne
    from distcnn.survey import Store

    must_exist(package, "a package")
    must_exist(survey, "a survey store")
    other = None
    if training is not None:
        must_exist(training, "the survey that the package was trained on")
        other = Store.open(training, "survey")
    return tsne.open_sources(read_manifest(package), Store.open(survey, "survey"), other)


@with_places
def map_galaxy(
    predictions: Address,
    out: Path,
    config: Config,
    listener: Listener = silent,
    *,
    survey: Address | None = None,
) -> "MapRecord":
    """Map the predicted stars in the Galaxy into the folder ``out``; prints as text.

    ``survey``: if it was moved from where the predictions say.
    """
    from distcnn.maps.galaxy import map_galaxy as map_stars
    from distcnn.survey import Store

    must_have_room(out, "the map")
    store = _finished(predictions)
    place = survey or store.location.resolve(store.attrs["survey"]["path"])
    must_exist(place, "the survey that the predictions were made from")
    source = Store.open(place, "survey")
    origin = {
        "predictions": store.identity,
        "survey": store.attrs["survey"]["digest"],
    }

    def work(executor: "ClusterExecutor", watched: Listener) -> "MapRecord":
        return map_stars(
            store, source, out, config.maps.galaxy, origin, executor=executor, listener=watched
        )

    reads = {"predictions": store.location, "survey": source.location}
    return on_workers(config.cluster, config, listener, places_of(reads, out), work)


def _finished(predictions: Address) -> "Store":
    from distcnn.survey import Store

    must_exist(predictions, "a prediction store")
    store = Store.open(Location.parse(predictions), "predictions")
    if not store.attrs.get("complete"):
        raise StoreError(
            f"{store.location} is not finished",
            expected="a prediction store with every region stored",
            cure="Run the same distcnn predict command again; it goes on where it stopped.",
        )
    return store
