"""What the page is made from: finished results, read and not computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distcnn.config import ReportConfig
from distcnn.evaluation import Evaluation, EvaluationData, Sample
from distcnn.location import Address, Location
from distcnn.manifest import Manifest
from distcnn.report.results import Result
from distcnn.survey import Store


@dataclass(frozen=True)
class Finished:
    """Results of other commands; empty or None = not there.

    Attributes
    ----------
    checks : of ``distcnn check``. ``rivals`` : the judged table of ``distcnn compare``.
    tsne, galaxy : of ``distcnn map``.
    """

    checks: Sequence[Result] = ()
    rivals: Result | None = None
    tsne: Result | None = None
    galaxy: Result | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything that sections and figures show.

    Attributes
    ----------
    products : where predictions, survey, package and truth are.
    numbers, sample : what an evaluation found, and the stars it is about.
    finished : what other commands have found.
    """

    products: EvaluationData
    numbers: Evaluation
    sample: Sample
    config: ReportConfig
    finished: Finished = field(default_factory=Finished)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the predictions."""
        return self.numbers.labels

    @property
    def predictions(self) -> Store:
        """The prediction store."""
        return Store.open(self.products.predictions, "predictions")

    @property
    def survey(self) -> Store | None:
        """The survey store; None where it is not there."""
        given = self.products.survey
        return Store.open(given, "survey") if given else None

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the package; None where it is not there."""
        return self.products.manifest

    @property
    def curves(self) -> Sequence[Mapping[str, Any]]:
        """Learning curves of the members."""
        return self.products.curves

    def told_of(self, product: str) -> Mapping[str, Any]:
        """What the predictions say of the ``survey`` or the ``package`` they were made from."""
        told = self.predictions.attrs.get(product)
        return told if isinstance(told, Mapping) else {}

    def place(self, address: Address | None, otherwise: str) -> str:
        """A place as it is typed in the folder of the predictions."""
        if address is None:
            return otherwise
        return Location.parse(address).relative_to(
            Location.parse(self.products.predictions).resolve(".").parent
        )

    @property
    def words(self) -> dict[str, str]:
        """The places that commands name."""
        told = {what: _last(self.told_of(what)) for what in ("survey", "package")}
        return {
            "predictions": self.place(self.products.predictions, "predictions.zarr"),
            "survey": self.place(self.products.survey, told["survey"] or "SURVEY"),
            "package": told["package"] or "PACKAGE",
        }


def _last(product: Mapping[str, Any]) -> str:
    path = product.get("path")
    return path.removeprefix("../") if isinstance(path, str) else ""
