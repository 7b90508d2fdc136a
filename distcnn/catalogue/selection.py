"""Selection: which columns and which rows of the predictions a catalogue is to have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

import numpy as np

from distcnn.catalogue.columns import COVARIANCE, Column, is_correlation
from distcnn.catalogue.expression import Expression, unknown_column
from distcnn.errors import UsageError
from distcnn.evaluation.agreement import StandardLabels

MOST_MARGIN = 3600.0
"""Widest margin of a partition [arcseconds]; cross-matches need some."""
MOST_CORRELATIONS = 10
"""So many pairs of labels get a column each unless asked for otherwise: five labels, as Gaia
has it for the five parameters of its astrometry."""


class CovarianceForm(StrEnum):
    """How a catalogue tells that errors of two labels of one star go together."""

    USUAL = "usual"
    """As columns up to five labels; not at all for more (24 labels have 276 pairs)."""
    NONE = "none"
    COLUMNS = "columns"
    """One column for each pair of labels: their correlation."""
    ARRAY = "array"
    """One column with the covariance matrix of all labels."""


@dataclass(frozen=True)
class Selection:
    """What to export; the default is all rows with the usual columns."""

    columns: tuple[str, ...] = ()
    """Names, or patterns such as ``teff*``, in the order of the columns; none = the usual."""
    where: str = ""
    """Condition that a row fulfils (``catalogue.expression``); none = all rows."""
    covariance: CovarianceForm = CovarianceForm.USUAL
    margin: float = 0.0
    """Stars this near to a partition of the sky are written once more, beside it [arcseconds]."""
    standard: StandardLabels | None = field(default=None, compare=False)
    """Labels of the best standard methods, for columns beside the network's; None = none."""

    @classmethod
    def parse(
        cls,
        columns: str | None,
        where: str | None,
        covariance: str | None,
        margin: float | None = None,
    ) -> "Selection":
        """The selection that options of the command line ask for.

        Raises
        ------
        UsageError : an empty list of columns or condition, a margin that is none, or an unknown
            form of covariance.
        """
        names = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
        if columns is not None and not names:
            raise UsageError("--columns names no column", expected="such as source_id,ra,dec,teff*")
        if where is not None and not where.strip():
            raise UsageError(
                "--where is empty", expected='a condition, such as "flags == 0"',
                cure="Leave the option out for all stars.",
            )  # fmt: skip
        if margin is not None and not 0 <= margin <= MOST_MARGIN:
            raise UsageError(
                f"--margin {margin:g}", expected=f"0 to {MOST_MARGIN:g} arcseconds, one degree"
            )
        forms = [form.value for form in CovarianceForm]
        if covariance is not None and covariance not in forms:
            raise UsageError(f"--covariance {covariance}", expected=f"one of {', '.join(forms)}")
        return cls(names, where or "", CovarianceForm(covariance or "usual"), margin or 0.0)

    def choose(self, known: Sequence[Column]) -> tuple[Column, ...]:
        """The columns of the catalogue, of all that there could be.

        Raises
        ------
        UsageError : a name or pattern fits no column; tells which there are.
        """
        usual = self._usual(known)
        if not self.columns:
            return usual
        named = {column.name: column for column in known}
        chosen: dict[str, Column] = {}
        for asked in self.columns:
            found = [named[asked]] if asked in named else _matching(asked, usual)
            if not found:
                raise unknown_column(asked, types_of(usual))
            chosen |= {column.name: column for column in found}
        return tuple(chosen.values())

    def condition(self, known: Sequence[Column]) -> Expression | None:
        """The condition on rows, read and tried; None if all are wanted.

        Raises
        ------
        UsageError : it is wrong; tells where.
        """
        if not self.where.strip():
            return None
        return Expression.parse(self.where, types_of([c for c in known if not c.shape]))

    def _usual(self, known: Sequence[Column]) -> tuple[Column, ...]:
        correlations = [column for column in known if is_correlation(column)]
        form = self.covariance
        if form is CovarianceForm.USUAL:
            few = len(correlations) <= MOST_CORRELATIONS
            form = CovarianceForm.COLUMNS if few else CovarianceForm.NONE
        return tuple(
            column
            for column in known
            if (form is CovarianceForm.COLUMNS or not is_correlation(column))
            and (form is CovarianceForm.ARRAY or column.variable != COVARIANCE)
        )


def types_of(columns: Sequence[Column]) -> dict[str, str]:
    """Numpy type of each column by name."""
    return {column.name: np.dtype(column.dtype).str for column in columns}


def _matching(pattern: str, columns: Sequence[Column]) -> list[Column]:
    if not set(pattern) & set("*?["):
        return []
    return [column for column in columns if fnmatchcase(column.name, pattern)]
