"""Finding the results of other commands that belong to a prediction store."""

from collections.abc import Iterable, Mapping
from typing import Any

from distcnn.errors import InputError
from distcnn.evaluation import EvaluationData
from distcnn.evaluation.data import BASELINES_FILE
from distcnn.events import Listener, Notice, silent
from distcnn.location import Address, Location
from distcnn.report.data import Finished
from distcnn.report.results import Result, read_checks, read_map, read_rivals
from distcnn.survey import Store

FOLDERS = {"checks": "checks", "tsne": "tsne", "galaxy": "galaxy"}
"""Names of the folders that are looked for beside the predictions."""


def find_finished(
    data: EvaluationData,
    listener: Listener = silent,
    *,
    baselines: Address | None = None,
    checks: Address | None = None,
    tsne: Address | None = None,
    galaxy: Address | None = None,
) -> Finished:
    """Checks, judged methods and maps: where they are named, else beside the predictions.

    What was found beside them and is of another package is left out, with a warning.

    Raises
    ------
    InputError : what was named is not there, or is of another package.
    FileBroken : a record or a table cannot be read.
    """
    store = Store.open(data.predictions, "predictions")
    beside = store.location.resolve(".").parent
    origin = {"package": _digest(store.attrs.get("package", {}))}
    given = {"checks": checks, "tsne": tsne, "galaxy": galaxy}
    places = {what: given[what] or beside / name for what, name in FOLDERS.items()}
    found: dict[str, Iterable[Result]] = {"checks": read_checks(places["checks"])}
    found |= {what: [one for one in [read_map(places[what])] if one] for what in ("tsne", "galaxy")}
    kept = {
        what: [one for one in results if _fits(one, origin, places[what], given[what], listener)]
        for what, results in found.items()
    }
    for what, address in given.items():
        if address is not None and not list(found[what]):
            raise InputError(f"{address} has no result", expected=f"a folder of {_MADE_BY[what]}")
    table = baselines or beside / BASELINES_FILE
    return Finished(
        checks=tuple(kept["checks"]),
        rivals=read_rivals(table) if data.baselines else None,
        tsne=next(iter(kept["tsne"]), None),
        galaxy=next(iter(kept["galaxy"]), None),
    )


_MADE_BY = {
    "checks": "`distcnn check`",
    "tsne": "`distcnn map tsne`",
    "galaxy": "`distcnn map galaxy`",
}


def _fits(
    result: Result,
    origin: Mapping[str, Any],
    place: Address,
    given: Address | None,
    listener: Listener,
) -> bool:
    """Whether a result is of the package of the predictions, as far as it says."""
    other = [
        what
        for what, digest in origin.items()
        if digest and _digest(result.origin.get(what)) not in (None, digest)
    ]
    if not other:
        return True
    text = f"{Location.parse(place)}: {result.name} is of another {' and '.join(other)}"
    if given is not None:
        raise InputError(text, expected="results of the package of the predictions")
    listener(Notice(f"{text}; it is not shown", "warning"))
    return False


def _digest(value: object) -> object:
    return value.get("digest") if isinstance(value, Mapping) else value
